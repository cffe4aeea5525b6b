"""Settings of `make lab`: what a kernel says is sent on at once.

A kernel answers a key press with several small messages. TCP holds all but
the first back until that one is acknowledged, and the browser's machine may
take 40 ms over it (Nagle's algorithm and delayed acknowledgement), with the
new picture waiting.
"""

from jupyter_server.services.kernels.connection import channels


class PromptConnection(channels.ZMQChannelsWebsocketConnection):
    """The usual connection of browser and kernel, without that wait."""

    async def connect(self):
        self.websocket_handler.set_nodelay(True)
        return await super().connect()


c = get_config()  # noqa: F821  (Jupyter's)
c.ServerApp.kernel_websocket_connection_class = PromptConnection

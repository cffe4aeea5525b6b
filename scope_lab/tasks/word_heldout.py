"""The stories that no model trains on, in the notation of `word_stories`: split `test` of `word_problems`."""

from .word_stories import read_templates

ONE_STEP = """
[warmer] b=2..12
? At dawn it is {a} degrees outside. By noon it is {b} degrees warmer. How many degrees is it at noon?
? The thermometer shows {a} degrees and then rises by {b} degrees. What does it show now?
= noon = a + b; It is now {=} degrees.

[songs_to_go] a=5..16
? A choir will sing {a song}. It has sung {b} so far. How many songs are still to come?
? {b} of the {a song} at a concert are over. How many songs remain?
= left = a - b; There are {= song} to come.

[orchard]
? A farmer plants {a row} of trees with {b tree} in each row. How many trees are planted?
? In an orchard every row has {b tree}. There are {a row}. How many trees does the orchard have?
= trees = a * b; There are {= tree}.

[rope_pieces] a=6..60 b=2..9
? A rope is {a meter} long. {P} cuts it into {b} equal pieces. How many meters long is each piece?
? {P} makes {b} pieces of the same length from {a meter} of rope. How many meters long is a piece?
= piece = a / b; Each piece is {= meter} long.

[shorter_tower] a=5..16
? {P}'s tower is {a block} high. {Q}'s tower is {b block} lower. How many blocks high is {Q}'s tower?
? {Q} builds a tower that is {b block} lower than {P}'s, which has {a block}. How many blocks high is it?
= lower = a - b; {Q}'s tower is {= block} high.
"""

TWO_STEPS = """
[elevator]
? {P} gets into an elevator on floor {a}. It goes up {b floor} and then down {c floor}. On which floor is {P} now?
? From floor {a}, an elevator climbs {b floor}. After that it sinks by {c floor}. Which floor does it reach?
= top = a + b; The elevator goes up to floor {=}.
= now = top - c; Then it goes down to floor {=}.

[zoo_tickets] c=2..9
? A family of {a} adults and {b child} goes to the zoo. Every ticket costs {$c}. How many dollars do they pay?
? Tickets for the zoo are {$c} each. How many dollars do {a} adults and {b child} need for their tickets?
= people = a + b; There are {=} people.
= cost = people * c; They pay {= dollar}.

[candle] a=12..40 b=2..5 c=2..6
? A candle is {a} cm tall. It gets {b} cm shorter every hour. How many cm tall is it after {c hour}?
? Every hour a candle burns down by {b} cm. It was {a} cm tall at first. What is its height in cm {c hour} later?
= burnt = b * c; The candle loses {=} cm.
= tall = a - burnt; It is now {=} cm tall.

[fill_the_tank] a=20..60 b=2..8
? A tank has room for {a} liters and already holds {c} liters. A pump adds {b} liters a minute. How many minutes does
  it take until the tank is full?
? {c} liters of water stand in a tank of {a} liters. If {b} liters flow in each minute, in how many minutes is it
  full?
= room = a - c; There is room for {=} liters.
= minutes = room / b; That takes {= minute}.

[snow] d=20..30
? It is {d} degrees. On Monday {a} inches of snow fall, and on Tuesday {b} inches more than on Monday. How many inches
  of snow fall on the two days together?
? On January {d}, {a} inches of snow fell. The day after, {b} inches more than that fell. How many inches fell on both
  days in total?
= second = a + b; On the second day {=} inches fell.
= both = a + second; Together that is {=} inches.

[juice_change] a=1.50..4.50 b=2..4 c=20..30
? A glass of juice costs {$a}. {P} orders {b} glasses and pays with {$c}. How many dollars does {he} get back?
? {P} has {$c} and drinks {b} glasses of juice at {$a} a glass. How many dollars does {he} have afterwards?
= cost = b * a; The juice costs {= dollar}.
= back = c - cost; {P} is left with {= dollar}.
"""

THREE_STEPS = """
[photo_album]
? An album has {a page} with {b photo} on each. {P} adds {c photo} and takes out {d}. How many photos are in the
  album?
? {P} takes {d photo} out of an album and puts in {c} others. Before that it had {a page} with {b photo} each. How
  many photos does it have now?
= before = a * b; The album has {= photo} at first.
= more = before + c; With the new ones it has {= photo}.
= now = more - d; In the end it has {= photo}.

[free_seats] a=3..8 c=8..40
? A school takes {a} buses with {b seat} each. {c student} and {d teacher} get in. How many seats stay free?
? {c student} and {d teacher} sit in {a} buses. Each bus has {b seat}. How many seats are empty?
= seats = a * b; The buses have {= seat}.
= people = c + d; The number of people is {=}.
= free = seats - people; There are {= seat} free.

[lemonade]
? {P} sells {a} cups of lemonade at {$b} each. The lemons cost {him} {$c} and the sugar costs {$d}. How many dollars
  does {he} earn after these costs?
? For lemonade {P} buys lemons for {$c} and sugar for {$d}. {He} sells {a} cups for {$b} each. What is {his} profit in
  dollars?
= sales = a * b; {P} takes in {= dollar}.
= rest = sales - c; After the lemons there are {= dollar}.
= profit = rest - d; After the sugar there are {= dollar}.
"""

FOUR_STEPS = """
[workshop] c=2..6 e=2..6
? A workshop makes {a chair} and {b stool} a day. After {c day}, {d} of these seats are sold. The others go onto
  trucks, {e} on each truck. How many trucks are needed?
? Every day a workshop makes {a chair} and {b stool}. It works {c day} and sells {d} of these seats. How many trucks
  carry the others if one truck takes {e}?
= daily = a + b; Each day it makes {= seat}.
= made = daily * c; In {c day} it makes {= seat}.
= kept = made - d; Of these, {= seat} are not sold.
= trucks = kept / e; They need {= truck}.

[berry_pickers] a=2..6 b=2..6 c=2..5 d=2..5 e=2..4
? {P} picks {a} pounds of berries an hour, and {Q} picks {b}. {P} works {c hour} and {Q} works {d hour}. They sell all
  of the berries for {$e} a pound. How many dollars do they get?
? Berries sell for {$e} a pound. {P} picks {a} pounds in each of {c hour}, {Q} picks {b} pounds in each of {d hour}.
  How many dollars do all their berries bring?
= first = a * c; {P} picks {=} pounds.
= second = b * d; {Q} picks {=} pounds.
= pounds = first + second; Together that is {=} pounds.
= money = pounds * e; They get {= dollar}.
"""

TEST = read_templates(ONE_STEP) + read_templates(TWO_STEPS) + read_templates(THREE_STEPS) + read_templates(FOUR_STEPS)

"""The stories that models train on, in the notation of `word_stories`; those held out are in `word_heldout`."""

from .word_stories import read_templates

ONE_STEP = """
[gain]
? {P} has {a thing}. {Q} gives {him} {b} more. How many {things} does {P} have now?
? {P} already had {a thing} and then got {b} more from {Q}. What is the number of {things} {he} has now?
= now = a + b; {P} now has {= thing}.

[give_away] thing=food a=4..14
? {P} has {a thing}. {He} gives {b} of them to {Q}. How many {things} does {P} have left?
? How many {things} does {P} have left if {he} starts with {a} and gives {b} to {Q}?
= left = a - b; {P} has {= thing} left.

[bags]
? There are {a bag} on the table with {b thing} in each bag. How many {things} are there altogether?
? {P} fills {a bag}. Each bag holds {b thing}. How many {things} are in the bags?
= total = a * b; There are {= thing} altogether.

[share] thing=food a=6..48 b=2..8
? {P} shares {a thing} equally among {b friend}. How many {things} does each friend get?
? {b friend} come to see {P} and split {a thing} evenly. How many {things} are there for each friend?
= each = a / b; Each friend gets {= thing}.

[more_than] a=4..14
? {P} has {a thing} and {Q} has {b thing}. How many more {things} does {P} have than {Q}?
? {Q} owns {b thing}, but {P} owns {a}. How many {things} more than {Q} does {P} own?
= more = a - b; {P} has {= thing} more than {Q}.

[price] thing=goods
? One {thing} costs {$a}. How many dollars do {b thing} cost?
? {P} buys {b thing} for {$a} each. How much does {he} pay in dollars?
= cost = a * b; Together they cost {= dollar}.

[price_with_cents] thing=goods a=1.50..5.50 b=2..6
? A {thing} costs {$a} in the shop on the corner. {P} wants {b thing}. How many dollars does {he} need?
? {P} sells {b thing} at {$a} each. How much money does {he} make, in dollars?
= cost = b * a; The total is {= dollar}.

[boxes_needed] thing=food a=6..48 b=2..8
? {P} packs {a thing} into boxes. Each box holds {b thing}. How many boxes does {P} fill?
? If {b thing} fit in one box, how many boxes does {P} need for {a thing}?
= boxes = a / b; {P} fills {= box}.

[two_colours]
? A jar holds {a} red {things} and {b} blue {things}. How many {things} are in the jar?
? {P} counts {b} blue {things} and {a} red {things} in a jar. How many {things} did {he} count in all?
= total = a + b; There are {= thing} in the jar.

[boys_girls] a=6..20
? There are {a child} in a class, and {b} of them are girls. How many are boys?
? {b} of the {a child} at a party are girls. The rest are boys. How many boys are at the party?
= boys = a - b; The number of boys is {=}.

[concert_length] a=2..5 b=6..11
? A long concert starts at {a} o'clock and ends at {b} o'clock in the same evening. How many hours does it last?
? {P} begins to work at {a} o'clock in the afternoon and ends at {b} o'clock that evening. How many hours is that?
= hours = b - a; From {a} to {b} o'clock is {= hour}.

[picked_in_a_day] thing=fruit d=5..12
? {P} is {d} years old. {He} picks {a thing} in the morning and {b thing} in the afternoon. How many {things} does
  {he} pick that day?
? On a farm {d} miles from town, {P} puts {a thing} in a basket before lunch and {b thing} after lunch. How many
  {things} are in the basket?
= total = a + b; That makes {= thing}.

[times_as_many] b=2..5
? {Q} has {a thing}. {P} has {b} times as many {things} as {Q}. How many {things} does {P} have?
? {P} collects {b} times as many {things} as {Q}, who collects {a}. How many {things} does {P} collect?
= many = a * b; {P} has {= thing}.

[at_first]
? {P} gave {a thing} to {Q} and has {b} left. How many {things} did {P} have at first?
? After {P} lost {a thing}, {he} still had {b}. How many {things} did {he} have before that?
= first = a + b; At first there were {= thing}.

[change] thing=goods b=10..30
? {P} buys a {thing} for {$a} and pays with {$b}. How many dollars does {he} get back?
? A {thing} costs {$a}. {P} has {$b} and buys one. How many dollars does {he} have left?
= back = b - a; {P} has {= dollar} left.
"""

TWO_STEPS = """
[gain_then_lose]
? {P} has {a thing}. {He} finds {b} more and then gives {c} to {Q}. How many {things} does {P} have now?
? {P} gets {b thing} from {Q}, which {he} adds to the {a} in {his} drawer. Later {he} loses {c} of them. How many
  {things} are left?
= sum = a + b; First {P} has {= thing}.
= left = sum - c; Then {= thing} are left.

[boxes_broken] thing=fruit
? There are {a box} with {b thing} in each. {c} of the {things} are bad and are thrown away. How many good {things}
  remain?
? A shop gets {a box} of {things}, {b} to a box. On the way {c thing} go bad. How many {things} can be sold?
= all = a * b; The boxes hold {= thing}.
= good = all - c; Of these, {= thing} are good.

[pay_with_bill] thing=goods a=2..8 b=2..8 c=15..60
? {P} buys {a thing} at {$b} each and pays with {$c}. How many dollars does {he} get back?
? {P} has {$c}. {He} buys {a thing} that cost {$b} each. How much money does {he} have left, in dollars?
= cost = a * b; The {things} cost {= dollar}.
= back = c - cost; {P} has {= dollar} left.

[more_then_together]
? {Q} has {a thing}. {P} has {b} more {things} than {Q}. How many {things} do they have together?
? {P} has {b thing} more than {Q}. If {Q} has {a thing}, how many do the two of them have in total?
= own = a + b; {P} has {= thing}.
= both = a + own; Together they have {= thing}.

[fewer_then_together] a=5..14
? {P} has {a thing}. {Q} has {b} fewer {things} than {P}. How many {things} do {P} and {Q} have together?
? {Q} owns {b thing} fewer than {P}, who owns {a}. How many {things} do they own in total?
= other = a - b; {Q} has {= thing}.
= both = a + other; Together they have {= thing}.

[mixed_into_bags] c=2..6
? {P} has {a} green {things} and {b} yellow {things}. {He} puts them all into {c bag}, the same number in each. How
  many {things} are in each bag?
? {P} brings {a thing} and {Q} brings {b}. They split them equally among {c child}. How many {things} does each child
  get?
= all = a + b; There are {= thing} in all.
= each = all / c; That gives {= thing} each.

[pages_left] a=3..12 b=2..7 c=30..90
? A book has {c page}. {P} reads {a page} every day for {b day}. How many pages are left to read?
? {P} reads {a page} of a book each evening. After {b evening}, how many of its {c page} has {he} not read yet?
= read = a * b; {P} reads {= page}.
= left = c - read; There are {= page} left.

[earn_then_spend] thing=goods a=4..12
? {P} earns {$a} an hour and works for {b hour}. Then {he} spends {$c} on a {thing}. How many dollars are left?
? {P} works {b hour} for {$a} an hour. If {he} buys a {thing} for {$c}, how much of the pay is left, in dollars?
= pay = a * b; {P} earns {= dollar}.
= left = pay - c; There are {= dollar} left.

[rows_and_extra]
? In a hall there are {a row} of {b chair}. {P} brings {c} extra chairs. How many chairs are in the hall now?
? {P} sets {c chair} by the door and {a row} of {b chair} in front of the stage. How many chairs is that in all?
= rows = a * b; The rows have {= chair}.
= total = rows + c; Altogether there are {= chair}.

[half_then_more] a=4..24
? {P} has {a thing} and gives half of them to {Q}. The next day {P} finds {b} more. How many {things} does {he} have?
? Half of {P}'s {a thing} get lost. Then {Q} gives {him} {b} new ones. How many {things} does {P} have now?
= half = a / 2; {P} keeps {= thing}.
= now = half + b; Now {he} has {= thing}.

[trays_in_oven] thing=baked d=6..12
? An oven needs {c minute} to get hot. Then each tray of {d thing} bakes for {a minute}, one tray after the other. How
  many minutes does it take to bake {b tray} from the start?
? {P} waits {c minute} for the oven, then bakes {b tray} with {d thing} on each. A tray takes {a minute}, and only one
  fits at a time. How many minutes does all of this take?
= baking = a * b; The trays take {= minute}.
= total = baking + c; All of it takes {= minute}.

[eat_then_share] thing=food a=8..50 c=2..6
? {P} has {a thing}. {He} eats {b} and shares the rest equally among {c friend}. How many {things} does each friend
  get?
? After {P} eats {b} of {his} {a thing}, {c friend} split the rest evenly. How many {things} does each friend get?
= rest = a - b; There are {= thing} to share.
= each = rest / c; Each friend gets {= thing}.

[price_of_several] thing=goods a=2..6 b=6..40
? {a thing} cost {$b}. At the same price, how many dollars do {c thing} cost?
? {P} pays {$b} for {a thing}. {Q} buys {c} of the same {things}. How much does {Q} pay in dollars?
= one = b / a; One {thing} costs {= dollar}.
= cost = one * c; The {c thing} cost {= dollar}.

[times_then_together] b=2..5
? {Q} has {a thing}, and {P} has {b} times as many. How many {things} do they have together?
? {P} saw {b} times as many {things} as {Q} in a shop. {Q} saw {a}. How many {things} did they see in total?
= own = a * b; For {P} the number is {= thing}.
= both = a + own; Together that is {= thing}.

[bus_stop] a=8..20 d=20..40
? Bus number {d} has {a} passengers. At the next stop {b} get off and {c} get on. How many passengers are on the bus?
? {a} people ride a bus that is {d} feet long. {b} people leave, and then {c} enter. How many people are on it now?
= stay = a - b; The number of people who stay is {=}.
= now = stay + c; The number on the bus is now {=}.

[fence]
? A garden is {a meter} long and {b meter} wide. How many meters of fence go all the way around it?
? {P} walks once around a field that is {b meter} wide and {a meter} long. How many meters does {he} walk?
= sides = a + b; A long and a short side make {= meter}.
= around = sides * 2; All the way around is {= meter}.
"""

THREE_STEPS = """
[two_kinds] thing=goods
? {P} buys {a thing} at {$b} each and {c} hats at {$d} each. How many dollars does {he} spend?
? A {thing} costs {$b} and a hat costs {$d}. How many dollars do {a thing} and {c} hats cost together?
= first = a * b; The {things} cost {= dollar}.
= second = c * d; The hats cost {= dollar}.
= total = first + second; Together that is {= dollar}.

[weekend_pay] thing=goods c=2..9
? {P} works {a hour} on Saturday and {b hour} on Sunday for {$c} an hour. {He} spends {$d} on a {thing}. How many
  dollars are left?
? At {$c} an hour, {P} works {a hour} one day and {b hour} the next, then buys a {thing} for {$d}. How many dollars
  does {he} keep?
= hours = a + b; {P} works {= hour}.
= pay = hours * c; That pays {= dollar}.
= left = pay - d; After shopping {= dollar} are left.

[repack] thing=food d=2..9
? {P} has {a bag} of {b thing} and {c} loose ones. {He} packs all of them into boxes of {d}. How many boxes does {he}
  fill?
? How many boxes of {d thing} can {P} fill from {a bag} with {b thing} each and {c} more from a bowl?
= bags = a * b; The bags hold {= thing}.
= all = bags + c; With the others there are {= thing}.
= boxes = all / d; They fill {= box}.

[ages]
? {Q} is {a} years old. {P} is {b} years older than {Q}, and {R} is twice as old as {P}. How old will {R} be in {c
  year}?
? {R} is twice as old as {P}. {P} is {b} years older than {Q}, who is {a}. What will be {R}'s age {c year} from now?
= second = a + b; {P} is {=} years old.
= third = second * 2; {R} is {=} years old.
= later = third + c; In {c year} the age of {R} is {=}.

[pages_twice] c=20..60
? A story has {c page}. {P} reads {a page} on Monday and twice as many on Tuesday. How many pages are left?
? On Monday {P} reads {a page}, on Tuesday double that. How many of the {c page} are still to be read?
= tuesday = a * 2; On Tuesday {P} reads {= page}.
= read = a + tuesday; In two days that is {= page}.
= left = c - read; There are {= page} left.

[legs]
? A farmer has {a hen} with 2 legs each and {b cow} with 4 legs each. How many legs do the animals have in all?
? {P} sees {b cow} and {a hen}. A cow has 4 legs and a hen has 2. How many legs does {he} see?
= hens = a * 2; The hens have {= leg}.
= cows = b * 4; The cows have {= leg}.
= total = hens + cows; Together they have {= leg}.

[sell_the_rest] thing=baked a=5..14 c=2..6
? {P} bakes {a thing} and keeps {b}. {He} sells the others for {$c} each. With the {$d} {he} had before, how many
  dollars does {P} have now?
? {P} had {$d}. {He} made {a thing}, ate {b} and sold the rest at {$c} each. How many dollars does {P} have now?
= sold = a - b; {P} sells {= thing}.
= money = sold * c; That brings {= dollar}.
= now = money + d; Now {P} has {= dollar}.

[whose_is_more] a=4..12
? {P} has {a bag} with {b thing} in each. {Q} has {c box} with {d thing} in each. How many more {things} does {P} have
  than {Q}?
? {Q} keeps {c box} of {d thing}, and {P} keeps {a bag} of {b thing}. By how many {things} does {P} have more?
= first = a * b; {P} has {= thing}.
= second = c * d; {Q} has {= thing}.
= more = first - second; {P} has {= thing} more.
"""

FOUR_STEPS = """
[two_kinds_change] thing=goods a=2..6 c=2..6 e=30..90
? {P} buys {a thing} at {$b} each and {c} hats at {$d} each. {He} pays with {$e}. How many dollars does {he} get back?
? From {$e}, {P} pays for {a thing} at {$b} each and {c} hats at {$d} each. How many dollars remain?
= first = a * b; The {things} cost {= dollar}.
= second = c * d; The hats cost {= dollar}.
= spent = first + second; Together that is {= dollar}.
= back = e - spent; There are {= dollar} left.

[bakery_bags] d=2..6 e=2..6
? A baker makes {a tray} of {b roll}. {c} of the rolls burn. The good ones go into bags of {d}, and each bag sells for
  {$e}. How many dollars does the baker make?
? {P} sells rolls at {$e} for a bag of {d}. {He} bakes {a tray} with {b roll} each, but {c roll} burn. How many
  dollars does {he} make from all the good rolls?
= rolls = a * b; There are {= roll}.
= good = rolls - c; Of these, {= roll} are good.
= bags = good / d; They fill {= bag}.
= money = bags * e; They sell for {= dollar}.

[savings] thing=goods c=5..30 d=2..5
? {P} saves {$a} a week for {b week} and gets {$c} from {Q}. Then {he} buys {d thing} at {$e} each. How many dollars
  are left?
? With {$c} from {Q} and {$a} saved in each of {b week}, {P} goes out and buys {d thing} for {$e} each. How many
  dollars does {he} still have?
= saved = a * b; {P} saves {= dollar}.
= money = saved + c; With the gift {he} has {= dollar}.
= spent = d * e; The {things} cost {= dollar}.
= left = money - spent; There are {= dollar} left.

[party_packs] thing=food c=2..6 e=2..8
? {a boy} and {b girl} come to a party. Each child gets {c thing}. {P} has {d} already and buys the others in packs of
  {e}. How many packs does {he} buy?
? {P} wants {c thing} for each of {a boy} and {b girl}. {He} has {d thing} at home, and a pack in the shop holds {e}.
  How many packs does {he} need?
= children = a + b; There are {= child}.
= wanted = children * c; They get {= thing}.
= missing = wanted - d; {P} needs {= thing} more.
= packs = missing / e; That is {= pack}.

[three_people]
? {Q} has {a thing}. {P} has {b} more than {Q}. {R} has twice as many as {P}. How many {things} do the three have
  together?
? {R} has twice as many {things} as {P}, and {P} has {b} more than {Q}. If {Q} has {a thing}, how many do all three
  have?
= second = a + b; {P} has {= thing}.
= third = second * 2; {R} has {= thing}.
= two = a + second; {Q} and {P} have {= thing}.
= all = two + third; All three have {= thing}.
"""

TRAIN = read_templates(ONE_STEP) + read_templates(TWO_STEPS) + read_templates(THREE_STEPS) + read_templates(FOUR_STEPS)

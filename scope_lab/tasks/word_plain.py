"""One-step stories in the plainest words, for the smallest models, in the notation of `word_stories`.

PLAIN_TRAIN goes with the stories of `word_templates`; PLAIN_TEST, with those of `word_heldout`, no model trains on.
"""

from .word_stories import read_templates

PLAIN_TRAIN = read_templates("""
[finds]
? {P} has {a thing} and finds {b} more {things}. How many {things} does {P} have in total?
? {P} finds {a thing} on Monday and {b thing} on Tuesday. How many {things} does {P} find in total?
= total = a + b; {P} has {= thing}.

[both_have]
? {P} has {a thing} and {Q} has {b thing}. How many {things} do they have in total?
? {P} and {Q} put their {things} together. {P} has {a thing} and {Q} has {b thing}. What is the total number of
  {things}?
= total = a + b; Together they have {= thing}.

[eats_daily] thing=food
? {P} eats {b thing} every day. How many {things} does {P} eat in {a day}?
? {P} eats {b thing} a day for {a day}. How many {things} is that in total?
= total = a * b; {P} eats {= thing}.

[boxes_each]
? {P} has {a box}. Each box has {b thing}. How many {things} does {P} have in total?
? {P} buys {a box} of {things}. There are {b thing} in each box. How many {things} does {P} buy?
= total = a * b; {P} has {= thing}.

[flowers]
? {P} plants {a} red flowers and {b} white flowers. How many flowers does {P} plant in total?
? There are {a} red flowers and {b} white flowers in a garden. What is the total number of flowers?
= total = a + b; The number of flowers is {=}.

[twice] a=2..20
? {P} finds {a thing}. {Q} finds twice as many. How many {things} does {Q} find?
? A shop has {a} small {things} and twice as many big {things}. How many big {things} are in the shop?
= many = a * 2; That is {= thing}.

[weekly_savings]
? {P} saves {$a} every week. How many dollars does {P} save in {b week}?
? {P} gets {$a} for each day of work. How many dollars does {P} get for {b day}?
= saved = a * b; That makes {= dollar}.
""")

PLAIN_TEST = read_templates("""
[games]
? {P} scores {a goal} in the first game and {b goal} in the second game. How many goals does {P} score in total?
? {P} scores {a goal} on Saturday and {b goal} on Sunday. What is the total number of goals?
= goals = a + b; {P} scores {= goal}.

[trips]
? {P} rides {a mile} on each trip. How many miles does {P} ride on {b trip}?
? {P} makes {b trip}. Each trip is {a mile} long. What is the total number of miles?
= miles = a * b; That makes {= mile}.

[wheels] a=2..12
? There are {a car} on the street. Each car has 4 wheels. How many wheels are there in total?
? Each of {a car} has 4 wheels. What is the total number of wheels?
= wheels = a * 4; They have {= wheel}.

[read_pages]
? {P} reads {a page} before lunch and {b page} after lunch. How many pages does {P} read altogether?
? {P} has read {a page} and now reads {b} more. How many pages is that in total?
= pages = a + b; {P} reads {= page}.

[pets]
? A farmer has {a cow} and {b hen}. How many animals does the farmer have in total?
? There are {a hen} and {b cow} on a farm. What is the total number of animals on the farm?
= animals = a + b; There are {= animal}.
""")

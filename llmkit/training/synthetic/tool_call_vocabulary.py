"""What our tool-call examples are made of. Train and held-back share no template, no attribute, no name, no number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something a document says about a thing, and how people ask for it."""

    word: str
    """What a search for it holds beside the name."""
    fact: str
    """The sentence of the document, with ``{e}`` and ``{n}``."""
    answer: str
    """The answer, with ``{n}``."""
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """A question that arithmetic answers."""

    question: str
    """With ``{a}``, ``{b}``, ``{c}``."""
    expression: str
    answer: str
    """With ``{r}``."""


@dataclass(frozen=True, slots=True)
class Words:
    """One side of the examples."""

    beginnings: tuple[str, ...]
    endings: tuple[str, ...]
    kinds: tuple[str, ...]
    places: tuple[str, ...]
    people: tuple[str, ...]
    sums: tuple[Sum, ...]
    attributes: tuple[Attribute, ...]
    priced: tuple[tuple[str, str, str], ...]
    """Search and then arithmetic: question with ``{e}``, ``{b}``; expression with ``{n}``, ``{b}``; answer."""
    price_fact: str
    chained: tuple[str, ...]
    """Who runs the place where the thing is: ``{e}``."""
    depot_fact: str
    """With ``{e}`` and ``{p}``."""
    manager_fact: str
    """With ``{p}`` and ``{w}``."""
    plain: tuple[tuple[str, str], ...]
    """What needs no tool, and a reply."""


TRAIN = Words(
    beginnings=tuple("Kes Bran Tor Vel Mar Hol Fen Gar Lin Dor Pel Ast Cor Wen Sil".split()),
    endings=tuple("trel dale via mont ric den ova lund ias bert ane wick or".split()),
    kinds=tuple("pump|valve|lamp|boiler|drill|fan|printer|compressor|oven|router|saw|filter".split("|")),
    places=tuple("Arlen Bexford Cawdon Dunmore Eastry Farlow Grantham Hexley".split()),
    people=tuple("Ada Marsh|Ben Okoye|Clara Voss|Dev Patel|Elin Berg|Farid Aziz|Greta Lang|Hugo Reyes".split("|")),
    sums=(
        Sum("A crate holds {a} jars. How many jars are in {b} crates?", "{a} * {b}", "{r} jars."),
        Sum("What is {a} plus {b}?", "{a} + {b}", "{r}."),
        Sum("What is {a} times {b}?", "{a} * {b}", "{r}."),
        Sum("What is {a} minus {b}?", "{a} - {b}", "{r}."),
        Sum("What is {a} divided by {b}?", "{a} / {b}", "{r}."),
        Sum("Work out {a} * {b} + {c}.", "{a} * {b} + {c}", "{r}."),
        Sum("Work out ({a} + {b}) * {c}.", "({a} + {b}) * {c}", "{r}."),
        Sum("Calculate {a} - {b} + {c}", "{a} - {b} + {c}", "{r}."),
        Sum("How much is {a} percent of {b}?", "{b} * {a} / 100", "{r}."),
        Sum("I bought {a} tickets at {b} euros each. What did I pay?", "{a} * {b}", "{r} euros."),
        Sum("A tank of {a} litres loses {b} litres an hour. How much is left after {c} hours?", "{a} - {b} * {c}",
            "{r} litres."),
        Sum("Share {a} sweets among {b} children. How many does each get?", "{a} / {b}", "{r} sweets."),
        Sum("A machine makes {a} parts an hour. How many does it make in {b} hours?", "{a} * {b}", "{r} parts."),
        Sum("There were {a} people in the hall, {b} left and {c} came in. How many are there now?", "{a} - {b} + {c}",
            "{r} people."),
        Sum("A rectangle is {a} metres long and {b} metres wide. What is its area?", "{a} * {b}", "{r} square metres."),
        Sum("The bill is {a} euros and {b} people split it. What does each pay?", "{a} / {b}", "{r} euros."),
        Sum("Add {a}, {b} and {c}.", "{a} + {b} + {c}", "{r}."),
        Sum("A book has {a} pages. I have read {b}. How many are left?", "{a} - {b}", "{r} pages."),
        Sum("Each of {a} rows has {b} seats, and {c} seats are broken. How many can be used?", "{a} * {b} - {c}",
            "{r} seats."),
        Sum("What is {a} squared?", "{a} ** 2", "{r}."),
        Sum("A coat costs {a} euros and is reduced by {b} percent. What does it cost now?", "{a} - {a} * {b} / 100",
            "{r} euros."),
        Sum("We drove {a} km and then {b} km. How far is that?", "{a} + {b}", "{r} km."),
        Sum("How many eggs are in {a} boxes of {b}?", "{a} * {b}", "{r} eggs."),
        Sum("The mean of {a}, {b} and {c}?", "({a} + {b} + {c}) / 3", "{r}."),
    ),
    attributes=(
        Attribute("warranty", "The warranty of the {e} is {n} months.", "{n} months",
                  ("How long is the warranty of the {e}?", "What warranty does the {e} have?",
                   "For how many months is the {e} under warranty?")),
        Attribute("weight", "The {e} weighs {n} kg.", "{n} kg",
                  ("How heavy is the {e}?", "What does the {e} weigh?")),
        Attribute("price", "The {e} costs {n} euros.", "{n} euros",
                  ("What is the price of the {e}?", "How much does the {e} cost?", "What do I pay for the {e}?")),
        Attribute("power", "The {e} draws {n} watts.", "{n} watts",
                  ("How much power does the {e} draw?", "What is the power of the {e}?")),
        Attribute("noise", "At full speed the noise of the {e} is {n} decibels.", "{n} decibels",
                  ("How loud is the {e}?", "What noise does the {e} make at full speed?")),
        Attribute("service interval", "The service interval of the {e} is {n} weeks.", "{n} weeks",
                  ("How often must the {e} be serviced?", "What is the service interval of the {e}?")),
        Attribute("delivery time", "The delivery time of the {e} is {n} days.", "{n} days",
                  ("How long does it take to deliver the {e}?", "What is the delivery time for the {e}?")),
        Attribute("capacity", "The {e} has a capacity of {n} litres.", "{n} litres",
                  ("What is the capacity of the {e}?", "How many litres does the {e} hold?")),
        Attribute("stock", "There are {n} pieces of the {e} in stock.", "{n} pieces",
                  ("How many of the {e} are in stock?", "What stock do we have of the {e}?")),
    ),
    priced=(
        ("What do {b} pieces of the {e} cost?", "{n} * {b}", "{r} euros"),
        ("I want to order {b} of the {e}. What is the total price?", "{b} * {n}", "{r} euros"),
        ("How much change do I get from {b} euros when I buy one {e}?", "{b} - {n}", "{r} euros"),
        ("The {e} is {b} percent cheaper this week. What does it cost?", "{n} - {n} * {b} / 100", "{r} euros"),
        ("What does the {e} cost with {b} euros of shipping?", "{n} + {b}", "{r} euros"),
    ),
    price_fact="One {e} costs {n} euros.",
    depot_fact="The {e} is stored in the depot {p}.",
    manager_fact="The manager of the depot {p} is {w}.",
    chained=(
        "Who manages the depot where the {e} is stored?",
        "The {e} is kept in one of our depots. Who is its manager?",
        "Name the manager of the depot that has the {e}.",
    ),
    plain=(
        ("Hello!", "Hello. What would you like to know?"),
        ("Thank you, that was all.", "You are welcome."),
        ("Good morning", "Good morning. What would you like to know?"),
        ("Who are you?", "I answer questions with tools."),
        ("What can you do?", "I look things up in documents and work out numbers."),
        ("Thanks a lot!", "You are welcome."),
        ("Please answer in English from now on.", "I will."),
        ("OK.", "What would you like to know?"),
        ("Bye!", "Goodbye."),
        ("That is wrong, I think.", "I am sorry. Tell me what you would like to know, and I look again."),
    ),
)  # fmt: skip

HELD_BACK = Words(
    beginnings=tuple("Zan Ruk Yor Quil Jas Ibe Umb Nyx".split()),
    endings=tuple("adar ello imus okk urre esta".split()),
    kinds=tuple("mixer|winch|heater|scanner|kettle|mower".split("|")),
    places=tuple("Kirkby Lydney Morpeth Norden".split()),
    people=tuple("Ivo Petrov|Jana Novak|Kwame Mensah|Lea Roth".split("|")),
    sums=(
        Sum("A train has {a} cars with {b} berths each. How many passengers can sleep in it?", "{a} * {b}",
            "{r} passengers."),
        Sum("Please compute {a} + {b} - {c}", "{a} + {b} - {c}", "{r}."),
        Sum("{a} multiplied by {b} gives what?", "{a} * {b}", "{r}."),
        Sum("My savings were {a} dollars and I spent {b}. What remains?", "{a} - {b}", "{r} dollars."),
        Sum("If {a} bricks are stacked in piles of {b}, how many piles are there?", "{a} / {b}", "{r} piles."),
        Sum("A gardener plants {a} bulbs every day for {b} days and {c} of them die. How many live?", "{a} * {b} - {c}",
            "{r} bulbs."),
        Sum("The sum of {a} and {b}, doubled: how much?", "({a} + {b}) * 2", "{r}."),
        Sum("A tax of {a} percent on {b} dollars comes to how much?", "{b} * {a} / 100", "{r} dollars."),
    ),
    attributes=(
        Attribute("torque", "The {e} reaches a torque of {n} newton metres.", "{n} newton metres",
                  ("Tell me the torque that the {e} reaches.",)),
        Attribute("battery", "The battery of the {e} lasts {n} minutes.", "{n} minutes",
                  ("After how many minutes is the battery of the {e} empty?",)),
        Attribute("height", "The {e} is {n} cm tall, its height included.", "{n} cm",
                  ("I need the height of the {e} in centimetres.",)),
        Attribute("temperature", "The {e} works up to a temperature of {n} degrees.", "{n} degrees",
                  ("Up to which temperature may the {e} be used?",)),
    ),
    priced=(
        ("Our school needs {b} units of the {e}. Which sum must be paid for all?", "{n} * {b}", "{r} euros"),
        ("A voucher of {b} euros is taken off the {e}. What remains to be paid?", "{n} - {b}", "{r} euros"),
    ),
    price_fact="For {n} euros the {e} can be bought in our shop.",
    depot_fact="In the depot {p} you find the {e}.",
    manager_fact="{w} took over the depot {p} as its manager.",
    chained=("Find out which manager is in charge of the depot holding the {e}.",),
    plain=(
        ("Nice to meet you.", "Nice to meet you, too."),
        ("I have no question at the moment.", "All right."),
        ("Well done, thanks for your help.", "You are welcome."),
        ("Have a pleasant evening!", "You too."),
    ),
)  # fmt: skip

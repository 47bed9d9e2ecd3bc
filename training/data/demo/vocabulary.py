"""The words of the demo catalogue's descriptions, by attribute; none of them says how an item looks.

A use has openings (whole sentences), scenes and tasks (phrases); a material has sentences and care notes; moods and
fillers are nuisances.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UseWords:
    """How a use is told."""

    category: str
    nouns: tuple[str, ...]
    openings: tuple[str, ...]
    scenes: tuple[str, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class MaterialWords:
    """How a material is told."""

    sentences: tuple[str, ...]
    care: tuple[str, ...]


USE_WORDS: dict[str, UseWords] = {
    "camping": UseWords(
        "Camping",
        ("Camp Companion", "Trail Piece", "Tent Mate"),
        (
            "Made for long weekends under canvas.",
            "Pack it for the next hike into the hills.",
            "A faithful partner on the trail and beside the campfire.",
            "For everyone who sleeps better in a tent.",
        ),
        ("campfires and river crossings", "a tent in the mountains", "muddy trailheads", "nights in a sleeping bag"),
        ("hiking with a heavy rucksack", "pitching camp before the rain", "cooking over a gas stove outdoors"),
    ),
    "travel": UseWords(
        "Travel",
        ("Journey Piece", "Carry-On Companion", "Voyager"),
        (
            "Designed for people who live out of a suitcase.",
            "Takes every flight and every night train with you.",
            "The travel companion for airports and hotel rooms.",
            "Fits the carry-on and clears the security line.",
        ),
        ("airport lounges", "sleeper trains and ferries", "a hotel room abroad", "long-haul flights"),
        ("packing a suitcase in a hurry", "changing planes", "finding your passport at the border"),
    ),
    "office": UseWords(
        "Office",
        ("Desk Partner", "Workday Piece", "Meeting Mate"),
        (
            "Brings order to a crowded desk.",
            "For working days full of meetings and deadlines.",
            "Your colleague between keyboard and telephone.",
            "Made for the office, whether at headquarters or at home.",
        ),
        ("a busy open-plan office", "the weekly team meeting", "a home office", "a desk covered in paperwork"),
        ("answering email before nine", "keeping invoices and contracts in order", "getting through conference calls"),
    ),
    "reading": UseWords(
        "Reading",
        ("Library Piece", "Page Companion", "Study Mate"),
        (
            "For evenings with a novel and no telephone.",
            "A present for bookworms and students.",
            "Keeps you company from the first chapter to the last page.",
            "Made for long hours of study in the library.",
        ),
        ("an armchair and a thick novel", "library reading rooms", "bookshelves and bedside tables", "exam season"),
        ("marking a page in a paperback", "revising for an exam", "reading poetry in bed"),
    ),
    "children": UseWords(
        "Children",
        ("Playroom Piece", "Nursery Friend", "Toybox Mate"),
        (
            "For toddlers who take everything apart.",
            "A playmate for the nursery and the playground.",
            "Survives birthday parties, siblings and kindergarten.",
            "Made for games of make-believe with small children.",
        ),
        (
            "the nursery floor",
            "playgrounds and sandpits",
            "a kindergarten classroom",
            "a birthday party with ten toddlers",
        ),
        ("playing hide and seek", "putting a baby to sleep", "building towers with toy blocks"),
    ),
    "cooking": UseWords(
        "Cooking",
        ("Kitchen Helper", "Stove Mate", "Pantry Piece"),
        (
            "For cooks who taste before they season.",
            "Belongs beside the stove and the chopping board.",
            "A helper for baking bread and simmering stock.",
            "Made for kitchens in which something is always in the oven.",
        ),
        ("a steaming kitchen", "Sunday baking", "the pantry and the oven", "a pot of soup on the stove"),
        ("kneading dough", "chopping onions and herbs", "stirring a slow stew"),
    ),
    "hosting": UseWords(
        "Hosting",
        ("Dinner Party Piece", "Table Companion", "Host's Helper"),
        (
            "For hosts who set one more place at the table.",
            "Turns a supper with friends into a dinner party.",
            "Made for toasts, second helpings and late goodbyes.",
            "Ready whenever guests ring the bell.",
        ),
        (
            "a dinner party with old friends",
            "wedding receptions",
            "cocktails before supper",
            "a long table full of guests",
        ),
        ("welcoming guests at the door", "pouring wine for a crowd", "laying the table for twelve"),
    ),
    "gardening": UseWords(
        "Gardening",
        ("Garden Hand", "Greenhouse Piece", "Allotment Mate"),
        (
            "For gardeners with soil under their nails.",
            "At home between vegetable beds and fruit trees.",
            "Helps from sowing in March to the last harvest.",
            "Made for the allotment, the greenhouse and the balcony.",
        ),
        (
            "vegetable beds",
            "a greenhouse full of seedlings",
            "the allotment in spring",
            "rose bushes and compost heaps",
        ),
        ("pruning roses", "planting bulbs", "watering tomato seedlings"),
    ),
}

MATERIAL_WORDS: dict[str, MaterialWords] = {
    "wood": MaterialWords(
        (
            "Carved from a single piece of oak.",
            "Solid walnut wood, joined without a nail.",
            "A carpenter turned it from seasoned beech timber.",
            "Made of ash wood from a local sawmill.",
        ),
        ("Oil the wood once a year.", "Timber moves a little with the weather.", "You can feel the grain of the wood."),
    ),
    "wool": MaterialWords(
        (
            "Knitted from pure sheep's wool.",
            "Thick felted merino wool all the way through.",
            "Spun and woven from highland wool.",
            "Lambswool, carded and felted by hand.",
        ),
        ("Wash the wool cold and by hand.", "Wool keeps its warmth when damp.", "The knit softens with every wash."),
    ),
    "leather": MaterialWords(
        (
            "Cut from full-grain cowhide leather.",
            "Saddle leather, stitched with waxed thread.",
            "A tanner's best hide, vegetable tanned.",
            "Supple leather that a saddler cut by hand.",
        ),
        ("Treat the leather with wax now and then.", "The hide ages with its owner.", "It smells of a saddlery."),
    ),
    "stoneware": MaterialWords(
        (
            "Thrown on the potter's wheel from stoneware clay.",
            "Fired twice in a ceramic kiln.",
            "Glazed stoneware from a small pottery.",
            "A ceramicist shaped it from river clay.",
        ),
        (
            "Ceramic of this kind stands the dishwasher.",
            "The glaze never flakes.",
            "Pottery breaks when dropped, so hold on.",
        ),
    ),
    "steel": MaterialWords(
        (
            "Forged from stainless steel.",
            "Brushed metal, welded without a visible seam.",
            "Pressed out of recycled steel sheet.",
            "A blacksmith hammered it from carbon steel.",
        ),
        ("The steel will not rust.", "Metal of this gauge does not bend.", "Dry the metal after rinsing."),
    ),
    "linen": MaterialWords(
        (
            "Woven from Belgian linen.",
            "Heavy flax cloth with sewn hems.",
            "Stonewashed linen fabric, cut generously.",
            "A tailor sewed it from pure flax linen.",
        ),
        (
            "The linen may be ironed damp.",
            "Cloth like this dries within the hour.",
            "Flax fabric grows softer over the years.",
        ),
    ),
}

MOOD_SENTENCES: dict[str, tuple[str, ...]] = {
    "calm": (
        "It has a quiet, unhurried air.",
        "It asks for nothing and takes its time.",
        "A calm thing in a noisy week.",
    ),
    "playful": ("It does not take itself seriously.", "There is a wink in it.", "It makes people smile."),
    "adventurous": ("It likes the unknown.", "It is happiest a little out of its depth.", "It dares you to say yes."),
    "nostalgic": ("It could have been your grandmother's.", "It remembers slower times.", "It feels like an old song."),
    "elegant": (
        "It carries itself with grace.",
        "Understated and sure of itself.",
        "It knows how to behave in company.",
    ),
}

FILLERS = (
    "Ships within two days.",
    "Comes with a five-year promise of repair.",
    "A workshop of seven people makes it.",
    "Part of the sale goes to an apprenticeship fund.",
    "Returned less often than anything else we sell.",
    "One of the first things we ever listed.",
    "Customers order it twice.",
    "Packed without plastic.",
    "Improved in its third edition.",
    "Sold singly.",
)

NAME_STARTS = (
    "Al",
    "Bre",
    "Cor",
    "Del",
    "El",
    "Fen",
    "Hal",
    "Is",
    "Jor",
    "Kal",
    "Lin",
    "Mar",
    "Nor",
    "Or",
    "Per",
    "Sol",
)
NAME_MIDDLES = ("a", "e", "i", "o", "u", "ana", "eri", "ino", "ola", "uma")
NAME_ENDS = ("beck", "dal", "fjord", "gar", "holm", "kin", "lund", "mere", "na", "ris", "sund", "ta", "vik", "wen")
PLAIN_NOUNS = ("Edition", "Classic", "Original", "Number Two", "Series", "Standard")

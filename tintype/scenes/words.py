"""The words of the painter: every noun, synonym, adjective and phrase that a caption may use. Data only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SettingWords:
    """How a setting is said: ``{preposition} {article} {adjective} {noun}``."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    prepositions: tuple[str, ...] = ("in",)
    article: str = "a"


@dataclass(frozen=True)
class Phrases:
    """How a time or a sky is said: as adjectives before a noun, as phrases after it, and as tags alone."""

    adjectives: tuple[str, ...]
    phrases: tuple[str, ...]
    tags: tuple[str, ...]


SETTINGS = {
    "beach": SettingWords(("beach", "sandy beach", "shore"), ("tropical", "paradise"), ("on", "at", "by")),
    "sea": SettingWords(("sea", "ocean", "open sea"), ("wide", "deep"), ("on", "at"), "the"),
    "desert": SettingWords(("desert", "dunes"), ("dry", "hot"), ("in",), "the"),
    "mountains": SettingWords(("mountains", "mountain range", "peaks"), ("high", "rocky"), ("in",), "the"),
    "forest": SettingWords(("forest", "woods", "woodland"), ("deep", "quiet"), ("in",), "the"),
    "city": SettingWords(("city", "town", "skyline"), ("big", "modern"), ("in",), "the"),
    "meadow": SettingWords(("meadow", "grassland", "field"), ("grassy", "blooming"), ("on", "in")),
    "lake": SettingWords(("lake", "pond", "lakeside"), ("calm", "quiet"), ("on", "by", "at")),
    "snowfield": SettingWords(("snowfield", "tundra", "ice field"), ("frozen", "arctic"), ("on", "in")),
    "canyon": SettingWords(("canyon", "gorge", "ravine"), ("rocky", "wild")),
}

TIMES = {
    "day": Phrases(("daytime", "bright"), ("by day", "in daylight", "at noon", "during the day"), ("day", "daylight")),
    "sunrise": Phrases(
        ("sunrise", "morning", "dawn"), ("at sunrise", "at dawn", "in the morning"), ("sunrise", "dawn", "morning")
    ),
    "sunset": Phrases(
        ("sunset", "evening", "dusk"), ("at sunset", "at dusk", "in the evening"), ("sunset", "dusk", "evening")
    ),
    "night": Phrases(
        ("night", "midnight"), ("at night", "by night", "at midnight", "after dark"), ("night", "midnight")
    ),
}

SKIES = {
    "clear": Phrases(
        (), ("under a clear sky", "with a clear sky", "under a cloudless sky"), ("clear sky", "cloudless sky")
    ),
    "cloudy": Phrases(
        ("cloudy", "overcast"),
        ("under a cloudy sky", "with clouds", "under an overcast sky", "with clouds in the sky"),
        ("cloudy", "clouds", "cloudy sky"),
    ),
    "rain": Phrases(
        ("rainy", "stormy"),
        ("in the rain", "in heavy rain", "in rainy weather", "with falling rain"),
        ("rain", "rainy"),
    ),
    "snow": Phrases(
        ("snowy", "wintry"),
        ("in the snow", "with snowflakes", "in snowy weather", "with falling snow"),
        ("snow", "snowy", "snowfall"),
    ),
    "rainbow": Phrases(
        ("rainbow",), ("under a rainbow", "with a rainbow", "with a rainbow in the sky"), ("rainbow", "rainbow sky")
    ),
    "cosmic": Phrases(
        ("cosmic", "galactic"),
        ("under a cosmic sky", "with planets and stars", "beneath a nebula", "under a galaxy", "in outer space"),
        ("cosmic", "cosmic sky", "stars and planets", "galaxy"),
    ),
}

SUBJECTS = {  # name: (singular, plural), the first pair is the canonical one
    "pirate ship": (("pirate ship", "pirate ships"), ("pirate galleon", "pirate galleons")),
    "sailing boat": (("sailing boat", "sailing boats"), ("sailboat", "sailboats"), ("yacht", "yachts")),
    "pyramid": (("pyramid", "pyramids"),),
    "cat": (("cat", "cats"), ("kitten", "kittens"), ("cat with pointy ears", "cats with pointy ears")),
    "house": (("house", "houses"), ("cottage", "cottages"), ("hut", "huts")),
    "palm tree": (("palm tree", "palm trees"), ("palm", "palms")),
    "hot-air balloon": (("hot-air balloon", "hot-air balloons"), ("balloon", "balloons")),
    "castle": (("castle", "castles"), ("fortress", "fortresses")),
    "rocket": (("rocket", "rockets"), ("spaceship", "spaceships")),
    "lighthouse": (("lighthouse", "lighthouses"), ("beacon", "beacons")),
    "pine tree": (("pine tree", "pine trees"), ("pine", "pines"), ("fir tree", "fir trees")),
    "windmill": (("windmill", "windmills"),),
    "tent": (("tent", "tents"), ("camping tent", "camping tents")),
    "car": (("car", "cars"), ("automobile", "automobiles")),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "mushroom": (("mushroom", "mushrooms"), ("toadstool", "toadstools")),
    "snowman": (("snowman", "snowmen"),),
    "moon": (("moon", "moons"), ("full moon", "full moons")),
    "bird": (("bird", "birds"), ("songbird", "songbirds")),
    "camel": (("camel", "camels"), ("dromedary", "dromedaries")),
}

COLOURS = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "lemon"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
}

PLACES = {
    "left": ("on the left", "to the left", "on the left side", "at the left"),
    "middle": ("in the middle", "in the centre", "in the center", "at the centre"),
    "right": ("on the right", "to the right", "on the right side", "at the right"),
}

NUMBERS = {1: ("a", "one", "a single"), 2: ("two", "2", "a pair of"), 3: ("three", "3", "a trio of")}

STYLES = {
    "flat": ("flat illustration", "vector illustration", "flat drawing"),
    "watercolour": ("watercolour", "watercolor painting", "watercolour painting", "aquarelle"),
    "pixel art": ("pixel art", "pixel art picture", "pixelated picture"),
}

FRAMES = ("a picture of", "an image of", "a scene with", "a view of")

FUNCTION_WORDS = frozenset(("a", "an", "at", "beneath", "by", "during", "in", "of", "on", "the", "to", "under", "with"))

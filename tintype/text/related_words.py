"""Small groups of words that mean something near each other. Data only.

A model with a small vocabulary is asked for what it never saw; from these groups it can say what it knows instead.
Within a group, nearer words stand nearer to each other.
"""

_STOP_WORDS = (
    "a about above after all along also am an and any are around as at be been before behind being below beneath "
    "beside between beyond both but by can down during each every few for from had has have he her here him his how "
    "i if in inside into is it its just like many me more most much my near next no nor not of off on onto or other "
    "our out outside over own same she side single so some such than that the their them then there these they this "
    "those through to too toward towards under up upon us very was we were what when where which while who whose "
    "will with within without you your"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())

RELATED = tuple(
    tuple(group.split())
    for group in (
        "astronaut cosmonaut spaceman alien ufo rocket spaceship spacecraft shuttle satellite planet planets star moon",
        "space universe cosmos cosmic galactic galaxy nebula stars planets milky",
        "planet planets mars saturn jupiter earth moon asteroid comet stars star",
        "dog puppy wolf fox cat kitten tiger lion leopard",
        "horse pony donkey unicorn camel dromedary cow deer elephant giraffe",
        "rabbit hare mouse rat hamster squirrel cat kitten",
        "bird songbird eagle parrot owl seagull duck swan goose chicken penguin dragon bat",
        "fish shark whale dolphin octopus sea ocean boat",
        "person people man woman girl boy child human king queen princess knight wizard snowman",
        "robot android cyborg machine rocket car",
        "sea ocean waves water river waterfall lake pond lakeside bay coast shore beach",
        "island islands beach shore coast tropical palm",
        "river stream creek lake pond canyon",
        "mountain mountains mountainous hill hills peak peaks cliff volcano glacier canyon",
        "canyon gorge ravine valley cliff rocky",
        "forest forests jungle rainforest woods woodland grove trees tree pine fir palm",
        "tree trees oak birch willow bush pine palm",
        "desert dunes sahara sand savanna wasteland",
        "meadow grassland field prairie garden park lawn grass grassy flower",
        "snowfield tundra arctic ice iceberg glacier polar frozen snow snowy",
        "city town village metropolis downtown street skyline skyscraper building buildings urban",
        "house home cottage hut cabin barn mansion villa building tent",
        "castle fortress palace tower temple cathedral church ruins pyramid",
        "lighthouse beacon tower windmill",
        "windmill mill turbine farm",
        "tent camping camp campfire yurt hut",
        "ship boat pirate galleon sailboat sailing yacht canoe ferry vessel submarine",
        "airplane plane aircraft helicopter jet zeppelin airship balloon rocket",
        "car automobile truck bus train bicycle bike motorcycle vehicle wagon tractor",
        "flower flowers blossom rose tulip sunflower daisy lily orchid blooming",
        "mushroom toadstool fungus",
        "red scarlet crimson ruby maroon pink",
        "pink magenta rose violet purple red",
        "orange amber golden gold bronze brown copper",
        "yellow lemon gold golden",
        "green emerald lime olive jade teal turquoise",
        "blue azure navy cyan turquoise indigo",
        "purple violet lilac lavender indigo",
        "black dark night midnight shadow",
        "white snow snowy silver bright",
        "day daytime daylight noon afternoon bright sunny sun sunlight",
        "sunrise dawn daybreak morning",
        "sunset dusk twilight evening sundown",
        "night nighttime midnight moonlight moonlit nocturnal dark",
        "rain rainy stormy storm thunderstorm thunder lightning drizzle wet",
        "snow snowy snowfall snowflakes blizzard winter wintry christmas",
        "cloud clouds cloudy overcast fog foggy mist misty haze",
        "clear cloudless sunny sky",
        "rainbow colorful colourful",
        "watercolor watercolour aquarelle painting painted oil acrylic gouache canvas ink",
        "pixel pixelated pixels retro sprite",
        "vector flat illustration drawing drawn cartoon comic anime sketch graphic",
        "photo photograph photography photorealistic realistic picture image",
        "two pair couple twins",
        "three trio several",
        "paradise heaven tropical beach",
    )
)

"""The words of pairing codes: two lists of 256, so that one adjective and one noun carry 16 bits.

Chosen to be short, common, and hard to mistake for one another when read out over the telephone. The lists are
sorted, and frozen in practice but not in the protocol: a code is only text, so two versions of punchkit with different
lists still meet. Nothing here touches anything; `code.py` draws from the lists.
"""

ADJECTIVES = tuple(
    """
    able acid aged airy alert amber ample ancient antique apt aqua arctic arid autumn awake azure balmy beige big
    bland blue bold bonny bouncy brave breezy brief bronze bubbly bumpy burly busy calm cheery civic classic coastal
    comic cool copper cosmic crafty creamy crimson crooked cuddly curious cyan dainty damp dapper daring dark decent
    deep dense dizzy docile double dreamy dry dusty eager early easy elastic elder elegant emerald empty endless
    equal eternal even exact exotic expert extra fabled fearless fiery flat fond formal foxy frank free friendly
    frosty frugal full funny furry fuzzy gallant gentle giddy gifted glad gleaming global golden good grand gray
    great green gritty groovy grumpy handy happy hardy hasty hazel hazy healthy hearty heavy helpful hidden hollow
    honest humble humid husky icy ideal idle immense indigo inland ivory jade jaunty jazzy jolly jovial joyful juicy
    jumpy keen khaki kind large leafy light limber liquid little lively lofty lone loud loving loyal lucky lunar
    lush maple marble mauve mellow merry mighty mild minty misty modern moist mossy muddy muted mystic narrow native
    navy neat nimble noble noisy normal nutty oaken odd olive open orange organic oval pale pastel patient peachy
    perfect pink placid plain playful plucky polar polite proud puffy purple quaint quick quiet quirky rapid rare
    ready red regal rich ripe robust rocky rosy royal rugged rural rustic sandy scarlet sharp shiny silent silver
    simple sleepy smooth snowy solar solid sunny swift tall tame teal tender tidy tiny upbeat urban velvet violet
    vivid warm windy wise witty woven young zany zesty
    """.split()  # noqa: SIM905 - two lists of words, not five hundred quotation marks
)

NOUNS = tuple(
    """
    acorn actor airport album almond anchor ankle anvil apple apron arcade arrow artist atlas attic badge bagel
    bakery ballad bamboo banana barley basket beacon bicycle biscuit bishop bison blanket blossom bottle boulder
    branch bridge bucket buffalo butter cabin castle cello cherry chimney cider cinema circus clover cobra cocoa
    coffee comet cookie cottage cougar coyote cradle cricket crystal cushion daisy dancer desert diamond diary
    dinner doctor dolphin donkey dragon drawer drummer eagle easel echo elephant ember engine envelope falcon farmer
    feather fern ferry fiddle finger flagpole flute forest fossil fountain galaxy garden garlic gazelle geyser
    ginger giraffe glacier goblet gondola gorilla granite guitar hammer hammock harbor harvest hazelnut hedgehog
    helmet heron hockey honey horizon hotel iceberg igloo iguana island jacket jaguar jasmine jelly jigsaw journal
    jungle juniper kayak kernel kettle kitchen kitten koala ladder lagoon lantern lasagna laundry lavender lettuce
    library lizard lobster locket lotus magnet mailbox mammoth mandolin market marmot meadow melon mirror mitten
    monkey mosaic mountain muffin museum mustard napkin nectar needle nickel noodle notebook nugget oasis oatmeal
    octopus onion opera orchard orchid ostrich otter oyster paddle peanut pelican pencil pepper piano pickle pigeon
    pillow pirate planet pocket pony popcorn potato prairie pretzel pumpkin puppet puzzle pyramid quartz quilt
    rabbit raccoon radish rainbow raven ribbon river robin rocket rooster saddle sailor salmon sandwich saturn
    scooter seagull shadow shamrock shovel sparrow spider squirrel tadpole tailor teapot temple thimble thunder
    ticket tiger toaster tomato tractor trumpet tulip tunnel turkey turtle umbrella unicorn valley vanilla village
    violin volcano wagon walnut walrus whistle willow window wizard yogurt zebra zeppelin
    """.split()  # noqa: SIM905 - two lists of words, not five hundred quotation marks
)

"""Words that carry grammar, not content, by language: those that relate two things, and the others.

Lists of our own, of the commonest words; a content word is any that is in neither.
"""

from __future__ import annotations

RELATING = {
    "en": """of in on at by with without under over above below behind beside besides between among near next into onto from
        to through across along around against inside outside toward towards upon beneath beyond opposite off out up down
        left right front top bottom during before after about for per via within like as than""",
    "fr": """de du des d en dans sur sous à au aux avec sans chez par pour entre derrière devant près contre vers depuis
        dessus dessous dessus gauche droite côté parmi hors loin avant après autour""",
    "de": """in im ins an am ans auf aus bei beim mit ohne unter über neben vor hinter zwischen von vom zu zum zur nach durch
        gegen um für seit während links rechts oberhalb unterhalb davon entlang gegenüber""",
    "es": """de del en con sin sobre bajo ante tras entre desde hacia hasta por para a al junto encima debajo delante detrás
        izquierda derecha dentro fuera cerca lejos contra alrededor antes después""",
    "pl": """w we na z ze pod nad przed za obok między przy do od o po u bez dla przez wokół koło pomiędzy naprzeciw poniżej
        powyżej lewo prawo wewnątrz podczas""",
}
"""Prepositions, and words of place that go with them."""
OTHER = {
    "en": """a an the this that these those his her its their our my your he she it they we i you him them who which what
        and or but not no nor so if then is are was were be been being am has have had do does did can could will would
        shall should may might must there here some any each every all both very just also too only more most much many
        one two three four five six seven eight nine ten""",
    "fr": """un une le la les l ce cet cette ces son sa ses leur leurs mon ma mes ton ta tes notre votre nos vos il elle ils
        elles on nous vous je tu qui que qu quoi dont où et ou mais ni ne pas est sont était étaient être a ont avait c s
        y se très plus aussi deux trois quatre cinq six sept huit neuf dix""",
    "de": """ein eine einen einem einer eines der die das den dem des dieser diese dieses diesen sein seine ihr ihre er sie es
        wir ihr ich du man wer was welche und oder aber nicht kein keine keinen ist sind war waren wird werden wurde hat
        haben hatte sehr auch nur noch so als wie zwei drei vier fünf sechs sieben acht neun zehn""",
    "es": """un una unos unas el la los las lo este esta estos estas ese esa su sus mi tu nuestro él ella ellos ellas se que
        quien cual y e o u pero no ni es son era eran está están ser ha han había hay muy más también como dos tres cuatro
        cinco seis siete ocho nueve diez""",
    "pl": """i oraz a ale lub albo nie jest są był była było były być ten ta to te ci tych tej tego jego jej ich się który
        która które że jak tak też bardzo dwa dwie trzy cztery pięć sześć siedem osiem dziewięć dziesięć jeden jedna""",
}
RELATING_ZH = (
    "左边|右边|左侧|右侧|上方|下方|上面|下面|上边|下边|里面|旁边|前面|后面|之间"
    "|之上|之下|背景上|上有|里有|在|里|上|中|旁"
)
"""The longest first; 的 alone makes an attribute, no relation."""
RELATING_JA = "の上|の下|の左|の右|の中|の隣|の横|の前|の後ろ|に|で|から|へ|まで|と"

_SETS = {lang: frozenset(words.split()) for lang, words in RELATING.items()}
_OTHERS = {lang: frozenset(words.split()) for lang, words in OTHER.items()}


def relating(lang: str) -> frozenset[str] | None:
    """The words of a language that relate two things, folded; None for a language that is not listed."""
    return _SETS.get(lang)


def other(lang: str) -> frozenset[str]:
    """Its articles, pronouns, conjunctions, auxiliaries and small numbers."""
    return _OTHERS.get(lang, frozenset())

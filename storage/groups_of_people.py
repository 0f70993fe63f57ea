"""Words that say that a caption speaks of a group of people: by gender, and by region of the world.

Choices, ours and open to argument: nouns, pronouns and adjectives that name women or men in general (no first names,
and no occupation that a language does not mark), with their plurals and inflected forms; names of regions and of
peoples, grouped as in the United Nations' M49 standard of geographic regions, South and South-eastern Asia together.
Left out is what usually means something else in a caption: "junge" (young), "sie" (she, they, you), "il" (he, it),
"fils" (son, threads), "turkey". A term counts in texts of its own language only, since "man" is a pronoun in German.
The lists are for comparing groups within a corpus: what they miss they miss before and after a filter alike.
"""

from __future__ import annotations

import re

TERMS: dict[tuple[str, str], dict[str, str]] = {
    ("gender", "women"): {
        "en": (
            "woman, women, girl, girls, lady, ladies, female, females, "
            "she, her, hers, herself, mother, mothers, mom, "
            "moms, mum, mums, daughter, daughters, sister, sisters, wife, wives, grandmother, grandmothers, aunt, "
            "aunts, niece, nieces, queen, queens, princess, princesses, actress, actresses, waitress, waitresses, "
            "businesswoman, businesswomen, policewoman, policewomen, bride, brides, girlfriend, girlfriends, mrs, "
            "madam, widow, widows, nun, nuns"
        ),
        "fr": (
            "femme, femmes, fille, filles, fillette, fillettes, dame, dames, féminin, féminine, féminins, féminines, "
            "mère, mères, maman, mamans, sœur, sœurs, soeur, soeurs, épouse, épouses, tante, tantes, nièce, nièces, "
            "reine, reines, princesse, princesses, actrice, actrices, serveuse, serveuses, mariée, mariées, madame, "
            "mesdames, mademoiselle, veuve, veuves, grand mère, grands mères"
        ),
        "de": (
            "frau, frauen, mädchen, dame, damen, weiblich, weibliche, weiblicher, weiblichen, weibliches, mutter, "
            "mütter, mama, mamas, tochter, töchter, schwester, "
            "schwestern, ehefrau, ehefrauen, großmutter, großmütter, "
            "oma, omas, tante, tanten, nichte, nichten, "
            "königin, königinnen, prinzessin, prinzessinnen, schauspielerin, "
            "schauspielerinnen, kellnerin, kellnerinnen, braut, bräute, freundin, freundinnen, ärztin, ärztinnen, "
            "lehrerin, lehrerinnen, witwe, witwen"
        ),
        "es": (
            "mujer, mujeres, niña, niñas, chica, chicas, muchacha, muchachas, señora, señoras, señorita, señoritas, "
            "dama, damas, femenino, femenina, femeninos, femeninas, ella, ellas, madre, madres, mamá, hija, hijas, "
            "hermana, hermanas, esposa, esposas, abuela, abuelas, tía, tías, sobrina, sobrinas, reina, reinas, "
            "princesa, princesas, actriz, actrices, camarera, camareras, novia, novias, viuda, viudas"
        ),
        "zh": (
            "女人, 女性, 女士, 女孩, 女子, 女生, 女童, 少女, 妇女, 她, 母亲, 妈妈, 女儿, 姐姐, "
            "妹妹, 姐妹, 妻子, 奶奶, 外婆, 祖母, 阿姨, 姑姑, 女王, 皇后, 公主, 新娘, 女友, "
            "小姐, 太太, 寡妇"
        ),
    },
    ("gender", "men"): {
        "en": (
            "man, men, boy, boys, gentleman, gentlemen, male, males, "
            "he, him, his, himself, father, fathers, dad, dads, "
            "son, sons, brother, brothers, husband, husbands, grandfather, grandfathers, uncle, uncles, nephew, "
            "nephews, king, kings, prince, princes, actor, actors, waiter, waiters, businessman, businessmen, "
            "policeman, policemen, groom, grooms, boyfriend, boyfriends, mr, "
            "sir, widower, widowers, monk, monks, guy, "
            "guys"
        ),
        "fr": (
            "homme, hommes, garçon, garçons, monsieur, messieurs, masculin, masculine, masculins, masculines, père, "
            "pères, papa, papas, frère, frères, mari, maris, époux, oncle, oncles, neveu, neveux, roi, rois, prince, "
            "princes, acteur, acteurs, serveur, serveurs, marié, mariés, veuf, veufs, grand père, grands pères"
        ),
        "de": (
            "mann, männer, männern, mannes, jungs, herr, herren, männlich, männliche, männlicher, männlichen, "
            "männliches, vater, väter, papa, papas, sohn, söhne, bruder, brüder, ehemann, ehemänner, großvater, "
            "großväter, opa, opas, onkel, neffe, neffen, könig, könige, prinz, prinzen, schauspieler, kellner, "
            "bräutigam, freund, freunde, witwer"
        ),
        "es": (
            "hombre, hombres, niño, niños, chico, chicos, "
            "muchacho, muchachos, señor, señores, caballero, caballeros, "
            "masculino, masculina, masculinos, masculinas, él, ellos, padre, padres, papá, hijo, hijos, hermano, "
            "hermanos, esposo, esposos, marido, maridos, abuelo, abuelos, tío, tíos, sobrino, sobrinos, rey, reyes, "
            "príncipe, príncipes, actor, actores, camarero, camareros, novio, novios, viudo, viudos"
        ),
        "zh": (
            "男人, 男性, 男士, 男孩, 男子, 男生, 男童, 少年, 他, 父亲, 爸爸, 儿子, 哥哥, 弟弟, 兄弟, 丈夫, "
            "爷爷, 外公, 祖父, 叔叔, 舅舅, 国王, 皇帝, 王子, 新郎, 男友, 先生"
        ),
    },
    ("region", "Africa"): {
        "en": (
            "africa, african, africans, egypt, egyptian, egyptians, "
            "ethiopian, ethiopians, ghanaian, ghanaians, kenyan, "
            "kenyans, moroccan, moroccans, nigerian, nigerians, algerian, algerians, tunisian, tunisians, somali, "
            "somalis, senegalese, tanzanian, tanzanians, ugandan, "
            "ugandans, sudanese, congolese, south african, south "
            "africans, zimbabwean, zimbabweans"
        ),
        "fr": (
            "afrique, africain, africaine, africains, africaines, égyptien, égyptienne, égyptiens, égyptiennes, "
            "marocain, marocaine, marocains, marocaines, algérien, algérienne, algériens, algériennes, tunisien, "
            "tunisienne, tunisiens, tunisiennes, sénégalais, sénégalaise, "
            "sénégalaises, nigérian, nigériane, nigérians, "
            "kényan, kényane, éthiopien, éthiopienne, congolais, congolaise"
        ),
        "de": (
            "afrika, afrikaner, afrikanerin, afrikanerinnen, "
            "afrikanisch, afrikanische, afrikanischer, afrikanischen, "
            "afrikanisches, ägypter, ägypterin, ägyptisch, ägyptische, ägyptischer, ägyptischen, marokkaner, "
            "marokkanerin, marokkanisch, marokkanische, marokkanischen, nigerianer, nigerianerin, nigerianisch, "
            "nigerianische, kenianer, kenianerin, kenianisch, kenianische, äthiopisch, äthiopische, senegalesisch, "
            "senegalesische"
        ),
        "es": (
            "áfrica, africano, africana, africanos, africanas, egipcio, egipcia, egipcios, egipcias, marroquí, "
            "marroquíes, argelino, argelina, argelinos, argelinas, "
            "nigeriano, nigeriana, nigerianos, keniano, keniana, "
            "etíope, etíopes, senegalés, senegalesa, senegaleses, tunecino, tunecina"
        ),
        "zh": "非洲, 埃及, 摩洛哥, 尼日利亚, 肯尼亚, 埃塞俄比亚, 南非, 阿尔及利亚, 突尼斯, 加纳, 塞内加尔",
    },
    ("region", "East Asia"): {
        "en": (
            "china, chinese, japan, japanese, korea, korean, koreans, mongolia, mongolian, mongolians, taiwanese, "
            "tibetan, tibetans, east asian, east asians"
        ),
        "fr": (
            "chine, chinois, chinoise, chinoises, japon, japonais, japonaise, japonaises, corée, coréen, coréenne, "
            "coréens, coréennes, mongol, mongole, mongols, taïwanais, taïwanaise, tibétain, tibétaine"
        ),
        "de": (
            "china, chinese, chinesen, chinesin, chinesinnen, chinesisch, chinesische, chinesischer, chinesischen, "
            "chinesisches, japan, japaner, japanerin, japanerinnen, japanisch, japanische, japanischer, japanischen, "
            "japanisches, korea, koreaner, koreanerin, koreanisch, "
            "koreanische, koreanischer, koreanischen, mongolisch, "
            "mongolische, tibetisch, tibetische"
        ),
        "es": (
            "china, chino, chinos, chinas, japón, japonés, japonesa, japoneses, japonesas, corea, coreano, coreana, "
            "coreanos, coreanas, mongol, mongola, mongoles, taiwanés, taiwanesa, tibetano, tibetana"
        ),
        "zh": "中国, 日本, 韩国, 朝鲜, 蒙古, 东亚, 西藏",
    },
    ("region", "South and Southeast Asia"): {
        "en": (
            "india, indian, indians, pakistan, pakistani, pakistanis, bangladeshi, bangladeshis, sri lankan, sri "
            "lankans, nepali, nepalese, vietnam, vietnamese, thailand, "
            "thai, thais, indonesian, indonesians, malaysian, "
            "malaysians, filipino, filipinos, filipina, filipinas, "
            "cambodian, cambodians, burmese, south asian, south "
            "asians, southeast asian"
        ),
        "fr": (
            "inde, indien, indienne, indiens, indiennes, pakistanais, pakistanaise, bangladais, népalais, népalaise, "
            "vietnamien, vietnamienne, vietnamiens, thaïlandais, "
            "thaïlandaise, indonésien, indonésienne, indonésiens, "
            "malaisien, malaisienne, philippin, philippine, philippins, cambodgien, cambodgienne, birman, birmane"
        ),
        "de": (
            "indien, inder, inderin, inderinnen, indisch, indische, indischer, indischen, indisches, pakistaner, "
            "pakistanisch, pakistanische, nepalesisch, nepalesische, vietnamesisch, vietnamesische, vietnamese, "
            "vietnamesin, thailändisch, thailändische, indonesisch, indonesische, malaysisch, malaysische, "
            "philippinisch, philippinische, kambodschanisch, kambodschanische"
        ),
        "es": (
            "india, indio, indios, indias, pakistaní, pakistaníes, bangladesí, nepalí, nepalíes, vietnamita, "
            "vietnamitas, tailandés, tailandesa, tailandeses, indonesio, indonesia, indonesios, malasio, malasia, "
            "filipino, filipina, filipinos, filipinas, camboyano, camboyana, birmano, birmana"
        ),
        "zh": (
            "印度, 巴基斯坦, 孟加拉, 斯里兰卡, 尼泊尔, 越南, "
            "泰国, 印度尼西亚, 印尼, 马来西亚, 菲律宾, 柬埔寨, 缅甸"
        ),
    },
    ("region", "Western Asia"): {
        "en": (
            "arab, arabs, arabian, arabic, turkish, turk, turks, "
            "iranian, iranians, persian, persians, iraqi, iraqis, "
            "syrian, syrians, lebanese, israeli, israelis, palestinian, "
            "palestinians, saudi, saudis, yemeni, yemenis, "
            "kurdish, kurds, armenian, armenians, georgian, georgians, middle east, middle eastern"
        ),
        "fr": (
            "arabe, arabes, turc, turque, turcs, turques, iranien, iranienne, iraniens, persan, persane, irakien, "
            "irakienne, syrien, syrienne, syriens, libanais, libanaise, israélien, israélienne, palestinien, "
            "palestinienne, saoudien, saoudienne, kurde, kurdes, arménien, arménienne"
        ),
        "de": (
            "araber, araberin, arabisch, arabische, arabischer, arabischen, arabisches, türke, türken, türkin, "
            "türkisch, türkische, türkischer, türkischen, iraner, "
            "iranerin, iranisch, iranische, persisch, persische, "
            "irakisch, irakische, syrer, syrerin, syrisch, syrische, libanesisch, libanesische, israelisch, "
            "israelische, palästinensisch, palästinensische, kurdisch, kurdische, armenisch, armenische"
        ),
        "es": (
            "árabe, árabes, turco, turca, turcos, turcas, iraní, iraníes, persa, persas, iraquí, iraquíes, sirio, "
            "siria, sirios, sirias, libanés, libanesa, israelí, israelíes, palestino, palestina, palestinos, saudí, "
            "saudíes, kurdo, kurda, armenio, armenia"
        ),
        "zh": "阿拉伯, 土耳其, 伊朗, 波斯, 伊拉克, 叙利亚, 黎巴嫩, 以色列, 巴勒斯坦, 沙特, 库尔德, 亚美尼亚, 中东",
    },
    ("region", "Europe"): {
        "en": (
            "europe, european, europeans, british, english, scottish, "
            "irish, welsh, french, german, germans, italian, "
            "italians, spanish, portuguese, dutch, belgian, belgians, swiss, austrian, austrians, polish, czech, "
            "czechs, hungarian, hungarians, romanian, romanians, bulgarian, bulgarians, greek, greeks, russian, "
            "russians, ukrainian, ukrainians, swedish, norwegian, norwegians, danish, finnish"
        ),
        "fr": (
            "europe, européen, européenne, européens, européennes, britannique, britanniques, anglais, anglaise, "
            "anglaises, français, française, françaises, allemand, allemande, allemands, allemandes, italien, "
            "italienne, italiens, italiennes, espagnol, espagnole, espagnols, portugais, portugaise, néerlandais, "
            "néerlandaise, belge, belges, suisse, suisses, autrichien, autrichienne, polonais, polonaise, tchèque, "
            "grec, grecque, grecs, russe, russes, ukrainien, ukrainienne, suédois, suédoise, norvégien, danois, "
            "finlandais"
        ),
        "de": (
            "europa, europäer, europäerin, europäisch, europäische, "
            "europäischer, europäischen, europäisches, britisch, "
            "britische, britischen, englisch, englische, englischer, englischen, französisch, französische, "
            "französischer, französischen, franzose, franzosen, französin, deutsch, deutsche, deutscher, deutschen, "
            "deutsches, italienisch, italienische, italienischen, italiener, italienerin, spanisch, spanische, "
            "spanischen, spanier, spanierin, portugiesisch, "
            "portugiesische, niederländisch, niederländische, belgisch, "
            "belgische, schweizer, österreichisch, österreichische, österreicher, polnisch, polnische, tschechisch, "
            "tschechische, ungarisch, ungarische, griechisch, griechische, "
            "griechen, russisch, russische, russischen, "
            "russen, ukrainisch, ukrainische, schwedisch, schwedische, norwegisch, norwegische, dänisch, dänische, "
            "finnisch, finnische"
        ),
        "es": (
            "europa, europeo, europea, europeos, europeas, británico, "
            "británica, británicos, inglés, inglesa, ingleses, "
            "francés, francesa, franceses, alemán, alemana, alemanes, "
            "italiano, italiana, italianos, español, española, "
            "españoles, portugués, portuguesa, holandés, holandesa, belga, "
            "belgas, suizo, suiza, austríaco, austríaca, "
            "polaco, polaca, checo, checa, griego, griega, griegos, ruso, rusa, rusos, ucraniano, ucraniana, sueco, "
            "sueca, noruego, noruega, danés, danesa"
        ),
        "zh": (
            "欧洲, 英国, 法国, 德国, 意大利, 西班牙, 葡萄牙, 荷兰, 比利时, 瑞士, "
            "奥地利, 波兰, 捷克, 匈牙利, 希腊, 俄罗斯, 乌克兰, 瑞典, 挪威, 丹麦, 芬兰"
        ),
    },
    ("region", "Northern America"): {
        "en": "american, americans, united states, usa, "
        "canadian, canadians, canada, native american, native americans",
        "fr": "américain, américaine, américains, américaines, "
        "états unis, canadien, canadienne, canadiens, canadiennes",
        "de": (
            "amerikaner, amerikanerin, amerikanisch, amerikanische, amerikanischer, amerikanischen, amerikanisches, "
            "usa, kanadier, kanadierin, kanadisch, kanadische"
        ),
        "es": (
            "estadounidense, estadounidenses, norteamericano, norteamericana, norteamericanos, estados unidos, "
            "canadiense, canadienses"
        ),
        "zh": "美国, 加拿大",
    },
    ("region", "Latin America"): {
        "en": (
            "latin american, latin americans, latino, latinos, latina, "
            "latinas, hispanic, hispanics, mexican, mexicans, "
            "mexico, brazilian, brazilians, brazil, argentine, argentinian, argentinians, colombian, colombians, "
            "peruvian, peruvians, chilean, chileans, cuban, cubans, venezuelan, venezuelans, bolivian, bolivians, "
            "guatemalan, guatemalans, caribbean, jamaican, jamaicans, haitian, haitians"
        ),
        "fr": (
            "latino américain, latino, latinos, mexicain, mexicaine, mexicains, mexicaines, brésilien, brésilienne, "
            "brésiliens, argentin, argentine, argentins, colombien, colombienne, péruvien, péruvienne, chilien, "
            "chilienne, cubain, cubaine, vénézuélien, bolivien, bolivienne, haïtien, haïtienne"
        ),
        "de": (
            "lateinamerikanisch, lateinamerikanische, mexikaner, mexikanerin, "
            "mexikanisch, mexikanische, mexikanischen, "
            "brasilianer, brasilianerin, brasilianisch, brasilianische, argentinisch, argentinische, kolumbianisch, "
            "kolumbianische, peruanisch, peruanische, chilenisch, chilenische, kubanisch, kubanische, bolivianisch, "
            "bolivianische"
        ),
        "es": (
            "latinoamericano, latinoamericana, latinoamericanos, latino, latina, "
            "latinos, latinas, mexicano, mexicana, "
            "mexicanos, mexicanas, brasileño, brasileña, brasileños, argentino, argentina, argentinos, colombiano, "
            "colombiana, colombianos, peruano, peruana, peruanos, chileno, "
            "chilena, chilenos, cubano, cubana, cubanos, "
            "venezolano, venezolana, boliviano, boliviana, haitiano, haitiana"
        ),
        "zh": "拉丁美洲, 拉美, 墨西哥, 巴西, 阿根廷, 哥伦比亚, 秘鲁, 智利, 古巴, 委内瑞拉, 玻利维亚",
    },
    ("region", "Oceania"): {
        "en": (
            "australian, australians, australia, new zealander, new zealanders, "
            "maori, māori, aboriginal, polynesian, "
            "polynesians, samoan, samoans, hawaiian, hawaiians, fijian, fijians, papuan, papuans"
        ),
        "fr": (
            "australien, australienne, australiens, néo zélandais, maori, maorie, maoris, aborigène, aborigènes, "
            "polynésien, polynésienne, samoan, hawaïen, hawaïenne"
        ),
        "de": (
            "australier, australierin, australisch, australische, "
            "neuseeländisch, neuseeländische, maori, polynesisch, "
            "polynesische, samoanisch, hawaiianisch, hawaiianische"
        ),
        "es": (
            "australiano, australiana, australianos, neozelandés, neozelandesa, "
            "maorí, maoríes, polinesio, polinesia, "
            "samoano, hawaiano, hawaiana"
        ),
        "zh": "澳大利亚, 新西兰, 毛利, 波利尼西亚, 夏威夷",
    },
}  # fmt: skip
"""(kind, group) to the terms of each language, separated by commas."""

STOP_WORDS: dict[str, str] = {
    "en": (
        "the, and, with, for, that, this, from, are, was, were, has, have, had, its, their, they, them, which, who, "
        "not, but, all, one, two, into, over, under, near, above, below, left, right, there, here, than, then, when, "
        "what, where, how, can, will, been, being, also, more, some, such, our, your, you, out, off, each, other, "
        "between"
    ),
    "fr": (
        "les, des, une, dans, sur, avec, pour, par, qui, que, "
        "est, sont, aux, son, ses, leur, leurs, ces, cette, pas, "
        "plus, deux, entre, sous, mais, comme, être, ont, était, fait, nous, vous"
    ),
    "de": (
        "der, die, das, und, mit, ein, eine, einer, einem, einen, auf, aus, bei, von, vom, zum, zur, für, ist, sind, "
        "war, waren, nicht, den, dem, des, auch, als, nach, über, unter, vor, wie, sich, wird, werden, hat, haben, "
        "zwei, sie, wir, ihr"
    ),
    "es": (
        "los, las, una, unos, unas, con, por, para, que, del, sobre, entre, como, más, sin, son, está, están, sus, "
        "este, esta, estos, estas, era, fue, han, hay, dos, pero, muy, desde, hasta, cuando"
    ),
}  # fmt: skip
"""Function words of three letters or more: they say nothing of what a caption shows."""


def listed() -> list[str]:
    """Every term as "kind|group|language|term", and every function word as "stop||language|word"."""
    terms = [
        f"{kind}|{group}|{lang}|{term.strip()}"
        for (kind, group), languages in TERMS.items()
        for lang, words in languages.items()
        for term in words.split(",")
    ]
    return terms + [
        f"stop||{lang}|{word.strip()}" for lang, words in STOP_WORDS.items() for word in words.split(",")
    ]


def spoken_of(lang: str, text: str) -> list[str]:
    """The groups that a text in a language speaks of, e.g. "women"."""
    known, told = lang.partition("-")[0], spaced(text)
    return [
        group
        for (_, group), languages in TERMS.items()
        if any(spaced(one) in told for one in languages.get(known, "").split(",") if one.strip())
    ]


def spaced(text: str) -> str:
    """A text's words between single spaces, each Han character by itself."""
    return " ".join(["", *re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+", text.lower()), ""])

"""Which language a text is in, by its script and its function words.

No model and no data files: a script that one language of the list owns decides at once; where several share a
script, a word votes for the languages whose frequent function word it is, and a little for those whose spelling it
shows. Good for a paragraph, weaker for a line, and silent (None) where nothing votes or two languages tie. What it does
not know it cannot see: Bengali script is read as Bengali, though Assamese is written in it too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SCRIPTS = {
    "Latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "Cyrillic": "\u0400-\u052f",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "Devanagari": "\u0900-\u097f",
    "Kana": "\u3040-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u0590-\u05ff",
    "bn": "\u0980-\u09ff",
    "pa": "\u0a00-\u0a7f",
    "gu": "\u0a80-\u0aff",
    "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f",
    "kn": "\u0c80-\u0cff",
    "ml": "\u0d00-\u0d7f",
    "th": "\u0e00-\u0e7f",
    "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
}
_IN_SCRIPT = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}
_SHARED = {
    "Latin": "en es pt fr de it nl pl fi vi sw tr id".split(),
    "Cyrillic": "ru uk bg".split(),
    "Arabic": "ar fa ur".split(),
    "Devanagari": "hi mr ne".split(),
}
_WORDS = {
    "en": """the of and to in is that it for was on are as with they be at this have from or had by not but what all
        were when we there can an your which their if do will how about out then them these so has would my you he she
        me i'm don't it's no who her his our been more than""",
    "es": """el la los las de del que y en un una es por con no para se su al lo como más pero sus le ya o este sí
        porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante son está fue ha
        yo tú él ella""",
    "pt": """o a os as de do da dos das que e em um uma é por com não para se seu sua ao na no nas nos como mais mas foi
        são está ou ser quando muito há já também só pelo pela até isso ela ele entre depois sem mesmo você eu""",
    "fr": """le la les des de du un une et est en que qui dans pour pas sur au aux avec ce cette il elle ils nous vous
        je ne se son sa ses par plus ou mais être sont été comme on leur tout c'est l'on y très où si même""",
    "de": """der die das und ist nicht ein eine einen einem einer zu von mit den dem des im in auf für es sich auch als
        an nach wie wir ich sie er aus bei sind war wird werden oder aber dass daß haben hat kann nur noch über um so
        zum zur durch wenn""",
    "it": """il lo la i gli le di del della dei delle che e è un una uno per con non in nel nella da dal si sono come
        più ma anche ha questo questa al alla o ci se mi suo sua loro quando molto tra perché essere io tu lui lei""",
    "nl": """de het een en van is in op te dat die niet met voor zijn aan er ook als bij maar door naar om dan zou wat
        of kan nog wordt hebben heeft deze ik je hij zij we ze uit werd over geen meer moet""",
    "pl": """i w na z że się nie do jest to jak o po co ale od za przez dla są tak by być czy był była tym ten ta te
        tego może ich jego oraz lub które który która już tylko ze ja ty on ona""",
    "fi": """ja on ei että se oli hän en mutta kun ovat tai myös joka niin kuin mitä sen sitä ole voi jos vain minä sinä
        me he nyt ovat olla tämä tämän jotka sekä kanssa mukaan sitten hyvin kaikki""",
    "vi": """và là của có không một những được cho trong với các người này đã đến khi để như từ tôi bạn ra ở lại về
        nhiều hơn cũng sẽ vào nếu thì mà rất chúng ta anh em làm phải đó còn trên tại bị""",
    "sw": """na ya wa kwa ni katika la za cha kuwa hii hiyo huyo hayo haya si lakini kama au yake yao yangu wake wao
        wangu pia sana kila mtu watu ili hivyo baada kabla bila mimi wewe yeye sisi nini nani ndiyo hapana ambayo ambao
        ambaye kutoka hadi moja tu vya siku basi alisema akasema jambo wote yote ile yule huu""",
    "tr": """ve bir bu da de için ile çok ne daha gibi olarak olan o ama var kadar sonra mi mı ben sen biz en her ki
        değil şey diye ise veya olduğu onun bana""",
    "id": """yang dan di ini itu dengan untuk tidak dari dalam akan pada juga saya ke karena adalah ada mereka bisa oleh
        kita anda sudah kami atau seperti lebih telah dia tersebut sebagai bahwa para""",
    "ru": """и в не на что он я с как а то все она так его но да ты к у же вы за бы по только ее её мне было вот от меня
        еще ещё нет о из ему когда даже ну ли если уже или это эта этот для мы их чем была чтобы со где есть очень
        может можно которые который""",
    "uk": """і й та в у не на що він я з як а то все вона так його але ти до ж ви за б по тільки її мені було від мене
        ще ні про із йому коли якщо вже або це ця цей для ми їх чи була щоб зі де є дуже може можна які який""",
    "bg": """и в не на че той аз с как а то всичко тя така го но да ти към у ще вие за би по само я ми беше от мен
        още няма са из му когато дори ли ако вече или това тази този ние ги дали със къде има много може което
        който които се съм сме""",
    "ar": """في من على إلى أن ان هذا هذه التي الذي عن مع كان كانت لا ما هو هي أو او ثم بعد قبل كل لم لن قد إن ذلك تلك
        بين عند حتى إذا كما و يا أنا نحن هم غير أي ليس""",
    "fa": """و در به از که این را با است برای آن یک خود تا بر هم نیز شد شده بود می هر ما من او اما یا اگر چه همه های ها
        کرد کند شود باشد نیست هستند دارد ای پس وقتی چون آنها""",
    "ur": """کے کی میں ہے اور سے کا کو اس ہیں نے پر کہ یہ بھی ایک تھا تھی وہ نہیں ہو کر گیا ہوں تو ان جو تھے لیے ہم آپ
        کیا اپنے ساتھ یا جب سکتا سکتے رہا ہوتا""",
    "hi": """है के की में से का को और हैं पर यह ने कि भी एक नहीं तो हो ही था इस कर थे थी वह जो या लिए अपने साथ हम मैं
        आप क्या मेरे करने उस जब हुए रहा रही गया सकता सकते होता""",
    "mr": """आहे आणि या व तो ती ते हे ही हा नाही आहेत मी तू आम्ही तुम्ही मला तुला होते होता होती पण की एक केले असे असा
        अशी काय कसे म्हणून साठी मध्ये वर झाले केला करून त्या त्यांनी त्याच्या तर जर किंवा खूप आता आज""",
    "ne": """छ र को मा हो यो त्यो छन् पनि गर्न लागि भने छैन हुन् थियो भएको गरेको तथा वा हुन्छ एक म हामी तपाईं उनी उनले
        लाई बाट ले का गर्ने भयो गर्छ थिए तर अब धेरै हुने""",
}
_PARTS = {
    "en": "ing tion wh",
    "es": "ñ ción dad mente",
    "pt": "ã õ ção ções nh lh",
    "fr": "œ eau eux aient",
    "de": "ß sch ung",
    "it": "zione gli cch",
    "nl": "ij aa oe uu",
    "pl": "ł ą ę ś ź ż ć ń sz cz",
    "fi": "ää ä yy yö ssa ssä lla llä sta tta ttä kk ii uu ö",
    "vi": "ă đ ơ ư ạ ả ấ ầ ẩ ẫ ậ ắ ằ ẳ ẵ ặ ẹ ẻ ẽ ế ề ể ễ ệ ỉ ị ọ ỏ ố ồ ổ ỗ ộ ớ ờ ở ỡ ợ ụ ủ ứ ừ ử ữ ự ỳ ỵ ỷ ỹ",
    "sw": "mw ku wak nak tak lik",
    "tr": "ğ ı ş lar ler",
    "id": "meng mem kan nya",
    "ru": "ы э ё ение ого ть",
    "uk": "і ї є ґ",
    "bg": "ъ ите ията ане ото",
    "ar": "ة ى ي ك",
    "fa": "پ ژ چ گ",
    "ur": "ٹ ڈ ڑ ں ے ہ ھ",
    "hi": "ड़ ढ़ ें ों ियाँ",
    "mr": "ळ च्या ला णे ून ची चे त्त",
    "ne": "हरू लाई एको ्न",
}
_WORD = re.compile(r"[^\W\d_](?:['’]?[^\W\d_\u0300-\u036f]|[\u0300-\u036f\u0900-\u0963\u064b-\u0652])*")
_LONGEST = 64  # letters of a word that votes: what is longer is data, and BM25 drops it too
FUNCTION_WORDS = {code: frozenset(text.split()) for code, text in _WORDS.items()}
"""Frequent function words, case-folded, by ISO 639-1 code of the language."""
_SPELLINGS = {code: re.compile("|".join(unicodedata.normalize("NFC", text).split())) for code, text in _PARTS.items()}

LANGUAGES = tuple(sorted({*_WORDS, *(name for name in _SCRIPTS if len(name) == 2), "ja", "zh"}))
"""ISO 639-1 codes of the languages that can be told."""


def language(text: str) -> str | None:
    """The ISO 639-1 code of the language most of `text` is in, or None where it cannot be told.

    None for text without letters, in a script that is not known, or whose words speak for no language or for two alike.
    """
    text = unicodedata.normalize("NFC", text)
    found = script(text)
    if found == "Han":
        return "ja" if 10 * len(_IN_SCRIPT["Kana"].findall(text)) >= len(_IN_SCRIPT["Han"].findall(text)) else "zh"
    return _vote(text, _SHARED[found]) if found in _SHARED else found


def script(text: str) -> str | None:
    """The script of more than half of the letters, None where there is no such.

    Latin, Cyrillic, Arabic, Devanagari, Han (with the Japanese ones), or the language that alone uses the script.
    """
    letters = "".join(filter(str.isalpha, text))
    counts = {name: len(pattern.findall(letters)) for name, pattern in _IN_SCRIPT.items()}
    counts["Han"] += counts.pop("Kana")
    name = max(counts, key=lambda name: counts[name])
    return name if 2 * counts[name] > len(letters) else None


def _vote(text: str, candidates: list[str]) -> str | None:
    """The candidate with most votes; a vote that several share counts for each of them in part."""
    votes = dict.fromkeys(candidates, 0.0)
    for word, times in Counter(_WORD.findall(text.lower().replace("’", "'"))).items():
        if len(word) > _LONGEST:
            continue
        known = [code for code in candidates if word in FUNCTION_WORDS[code]]
        spelt = [code for code in candidates if _SPELLINGS[code].search(word)]
        for code in known:
            votes[code] += times / len(known)
        for code in spelt:
            votes[code] += times / len(spelt) / 4
    first, second = sorted(candidates, key=lambda code: -votes[code])[:2]
    return first if votes[first] > votes[second] else None

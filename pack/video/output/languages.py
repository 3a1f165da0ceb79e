"""Languages as MP4 holds them: three letters of ISO 639-2, where Matroska may have tags of BCP 47 such as de-CH."""

# ISO 639-1 and 639-2 (terminology) of the languages that films have most
CODES = (
    "af afr ar ara az aze be bel bg bul bn ben bs bos ca cat cs ces cy cym da dan de deu el ell en eng es spa et est "
    "eu eus fa fas fi fin fr fra ga gle gl glg gu guj he heb hi hin hr hrv hu hun hy hye id ind is isl it ita ja jpn "
    "ka kat kk kaz km khm kn kan ko kor la lat lo lao lt lit lv lav mk mkd ml mal mn mon mr mar ms msa my mya nb nob "
    "ne nep nl nld nn nno no nor pa pan pl pol ps pus pt por ro ron ru rus si sin sk slk sl slv sq sqi sr srp sv swe "
    "sw swa ta tam te tel th tha tl tgl tr tur uk ukr ur urd uz uzb vi vie xh xho yi yid zh zho zu zul"
).split()
LONG = dict(zip(CODES[::2], CODES[1::2], strict=True))


def three_letters(language: str) -> str:
    """The language without its region and script, and with three letters where the code of two is known."""
    primary = language.replace("_", "-").split("-")[0].lower()
    return LONG.get(primary, primary)

"""The ten events of the gallery, in ten scripts."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Show:
    """One event of the gallery, and the buyer of a ticket."""

    language: str
    zone: str
    name: str
    place: str
    holder: str
    price: tuple[str, int]
    design: dict[str, str]


SHOWS: Final = (
    Show(
        "en",
        "Europe/London",
        "A Midsummer Night's Dream",
        "The Globe, 21 New Globe Walk, London",
        "zoë.łukasz",
        ("GBP", 4250),
        {"terms": "No admission after the first act.", "logo": "logo.png"},
    ),
    Show(
        "ru",
        "Europe/Moscow",
        "Лебединое озеро",
        "Большой театр, Москва",
        "анна.иванова",
        ("RUB", 350000),
        {"color": "#7a1f2b"},
    ),
    Show(
        "he", "Asia/Jerusalem", "פסטיבל הג'אז Red Sea 2030", "נמל אילת", "דנה.כהן", ("ILS", 18000), {"color": "#ffd24a"}
    ),
    Show(
        "ar",
        "Africa/Cairo",
        "مهرجان الموسيقى العربية 🎶",
        "دار الأوبرا، القاهرة",
        "ليلى.حسن",
        ("EGP", 75000),
        {"color": "#0b6e4f"},
    ),
    Show(
        "hi",
        "Asia/Kolkata",
        "शास्त्रीय संगीत संध्या",
        "कमानी सभागार, नई दिल्ली",
        "अनन्या.शर्मा",
        ("INR", 120000),
        {"color": "#b3541e"},
    ),
    Show(
        "en",
        "Asia/Bangkok",
        "เทศกาลลอยกระทงกรุงเทพมหานคร",
        "เอเชียทีค เดอะ ริเวอร์ฟร้อนท์",
        "สมชาย",
        ("THB", 90000),
        {"paper": "PHONE"},
    ),
    Show(
        "ja",
        "Asia/Tokyo",
        "東京フィルハーモニー交響楽団",
        "サントリーホール, 東京",
        "山田花子",
        ("JPY", 8800),
        {"paper": "PHONE", "color": "#000000"},
    ),
    Show(
        "ko",
        "Asia/Seoul",
        "서울 국제 음악제 🎻",
        "예술의전당, 서울",
        "김민준",
        ("KRW", 65000),
        {"paper": "PHONE", "color": "#3d5a98"},
    ),
    Show(
        "en",
        "Asia/Dhaka",
        "রবীন্দ্র সঙ্গীত সন্ধ্যা",
        "জাতীয় নাট্যশালা, ঢাকা",
        "রহিম",
        ("BDT", 50000),
        {"paper": "PHONE", "color": "#006a4e"},
    ),
    Show(
        "en",
        "Africa/Addis_Ababa",
        "የአዲስ አበባ የጃዝ ምሽት",
        "ብሔራዊ ቴአትር, አዲስ አበባ",
        "አበበ",
        ("ETB", 40000),
        {"paper": "LETTER", "color": "#c8102e"},
    ),
)

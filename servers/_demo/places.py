"""Names and places of the demo company's customers, country by country."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """What people of one country are called, where they live, and in what they pay.

    In `phone`, `postcode` and the numbers of `streets` each `#` stands for one digit. The phone numbers
    come from ranges that regulators keep free for fiction, or from unassigned ones.
    """

    country: str
    currency: str
    weight: int
    phone: str
    first_names: str
    last_names: str
    streets: str
    places: str
    """City and postcode, such as `Lyon=6900#`; several are separated by commas, as everywhere here."""


REGIONS = (
    Region(
        "US",
        "USD",
        62,
        "+1 206 555 01##",
        "Maya,Daniel,Grace,Marcus,Elena,Jordan,Priya,Samuel,Nora,Theo,Rachel,Omar,Hannah,Luis,Tessa,Andre",
        "Whitfield,Ramirez,Chen,Coleman,Novak,Brooks,Delgado,Fischer,Hayes,Patel,Sullivan,Vaughn,Moreno,Reed",
        "### Maple Street,#### Harbor Avenue,## Juniper Lane,### 4th Street,#### Lakeview Drive",
        "Seattle=981##,Portland=972##,Denver=802##,Austin=787##,Madison=537##,Providence=029##",
    ),
    Region(
        "GB",
        "GBP",
        44,
        "+44 20 7946 0###",
        "Oliver,Amelia,Callum,Imogen,Rhys,Freya,Tariq,Bethan,Euan,Zara,Gareth,Poppy,Nikhil,Harriet",
        "Ashworth,Pemberton,Gallagher,Mistry,Hargreaves,Llewellyn,Drummond,Begum,Thornton,Okonkwo,Fairley",
        "## Mill Lane,## Station Road,1## Kingsway,# Chapel Yard,## Albert Terrace",
        "Leeds=LS# #AB,Bristol=BS# #TH,Cardiff=CF1# #DE,Edinburgh=EH# #QX,Norwich=NR# #LD",
    ),
    Region(
        "DE",
        "EUR",
        30,
        "+49 30 23125 ###",
        "Lena,Jonas,Mareike,Felix,Anke,Tobias,Ayşe,Henrik,Greta,Matthias,Selin,Jörg",
        "Brandt,Krüger,Vogel,Yılmaz,Hartmann,Schäfer,Lorenz,Petersen,Winkler,Baumann,Thiele",
        "Lindenstraße ##,Am Markt #,Goethestraße 1##,Hafenweg ##,Schulgasse #",
        "Berlin=1#437,Leipzig=0410#,Freiburg=7910#,Bremen=2819#,Kassel=3411#",
    ),
    Region(
        "FR",
        "EUR",
        18,
        "+33 1 99 00 ## ##",
        "Camille,Mathis,Inès,Bastien,Léa,Yanis,Margaux,Étienne,Sofiane,Clémence",
        "Moreau,Lefèvre,Garnier,Benali,Roussel,Chevalier,Marchand,Perrin,Fontaine",
        "## rue des Tanneurs,# place du Port,1## avenue Jean Jaurès,## rue Voltaire",
        "Lyon=6900#,Nantes=4400#,Rennes=3500#,Grenoble=3800#",
    ),
    Region(
        "NL",
        "EUR",
        14,
        "+31 20 555 01##",
        "Sanne,Daan,Femke,Ruben,Lotte,Jeroen,Aisha,Maarten",
        "de Vries,Bakker,van Dijk,Visser,Mulder,El Amrani,Postma,Hoekstra",
        "Oudegracht ##,Prinsenkade #,Kerkstraat 1##,Noorderhaven ##",
        "Utrecht=351# AB,Groningen=971# CK,Haarlem=201# DE,Delft=261# GH",
    ),
    Region(
        "SE",
        "EUR",
        10,
        "+46 8 465 004 ##",
        "Elsa,Viktor,Linnea,Axel,Maja,Oskar,Saga,Emil",
        "Bergström,Nyqvist,Holm,Sandberg,Åkesson,Lundgren,Hedlund",
        "Storgatan ##,Skolgatan #,Björkvägen ##,Hamngatan 1#",
        "Göteborg=411 0#,Uppsala=753 1#,Malmö=211 2#",
    ),
    Region(
        "ES",
        "EUR",
        12,
        "+34 910 55 0# ##",
        "Lucía,Álvaro,Marta,Iker,Nerea,Pablo,Carmen,Joan",
        "Navarro,Iglesias,Ferrer,Ortega,Vidal,Cabrera,Serrano",
        "Calle Mayor ##,Carrer del Pi #,Avenida del Mar 1##,Plaza Nueva #",
        "Valencia=4600#,Bilbao=4800#,Girona=1700#,Sevilla=4100#",
    ),
    Region(
        "IT",
        "EUR",
        10,
        "+39 06 5550 0###",
        "Giulia,Lorenzo,Chiara,Matteo,Elisa,Davide,Ilaria",
        "Ferrari,Conti,Marino,Gallo,De Santis,Rinaldi,Moretti",
        "Via Garibaldi ##,Corso Italia 1##,Piazza del Duomo #,Via dei Mille ##",
        "Torino=1012#,Bologna=4012#,Trieste=3412#",
    ),
    Region(
        "IE",
        "EUR",
        8,
        "+353 20 911 ####",
        "Aoife,Cormac,Niamh,Declan,Sinéad,Eoin",
        "Kavanagh,Doyle,Fitzpatrick,Brennan,Nolan,Adeyemi",
        "## Quay Street,# Abbey Court,## Patrick Street",
        "Cork=T12 AB##,Galway=H91 CD##,Dublin=D0# EF##",
    ),
    Region(
        "JP",
        "JPY",
        16,
        "+81 3 5550 0###",
        "Haruka,Kenji,Yui,Daichi,Sakura,Ren,Aoi,Takumi,Mei",
        "Sato,Kobayashi,Nakamura,Ishikawa,Mori,Hayashi,Ogawa,Shimizu",
        "#-##-# Jingumae,#-#-1# Kawaramachi,#-## Tenjin,##-# Sakaemachi",
        "Tokyo=150-00##,Kyoto=604-80##,Fukuoka=810-00##,Sapporo=060-00##",
    ),
    Region(
        "AU",
        "USD",
        8,
        "+61 2 5550 ####",
        "Charlotte,Lachlan,Matilda,Angus,Jacinta,Minh",
        "Barlow,Nguyen,McAllister,Tran,Hollis,Papadakis",
        "## Wattle Street,1## Beach Road,# Banksia Court",
        "Hobart=700#,Newcastle=230#,Fremantle=616#",
    ),
    Region(
        "CA",
        "USD",
        8,
        "+1 416 555 01##",
        "Chloe,Liam,Simone,Gabriel,Anjali,Noah",
        "Tremblay,Singh,MacLeod,Gagnon,Friesen,Lam",
        "### Queen Street,## rue Saint-Paul,#### Granville Street",
        "Toronto=M5V #A#,Montréal=H2Y #C#,Vancouver=V6Z #L#",
    ),
)

COMPANIES = (
    "Alder & Finch Architects,Bluewater Surveying,Brightfield Dental,Cobalt Podcasting,Copper Kettle Coffee,"
    "Corvid Translations,Dovetail Joinery,Eastgate Legal,Fernhill Veterinary,Fieldnote Research,"
    "Gable & Sons Roofing,Greywacke Geology,Hearthside Bakery,Inkwell Editorial,Juniper Physio,"
    "Kestrel Drone Imaging,Lanternfish Games,Larkspur Events,Littoral Design,Longshore Marine,"
    "Marigold Childcare,Meridian Tax Advisors,Milestone Tutors,Northlight Studio,Oakline Furniture,"
    "Otterbrook Films,Paperbark Press,Pinecone Pediatrics,Pivot Cycle Works,Quarry Lane Accountants,"
    "Quillon Patents,Redstart Travel,Ridgeway Solar,Saltmarsh Ecology,Sandpiper Analytics,"
    "Silverbirch Care,Skylark Music School,Slate & Timber Homes,Southbank Radiology,Spindle Textiles,"
    "Stonecrop Landscapes,Sundial Opticians,Tallow Street Theatre,Terrace Garden Café,Thimble Tailoring,"
    "Tidewater Logistics,Trellis HR,Umbra Lighting,Underhill Wines,Verdigris Restoration,"
    "Wayfinder Maps,Wheelhouse Robotics,Whitecap Sailing,Wicker Park Realty,Willowmere Estates,"
    "Woodsmoke Kitchens,Yarrow Naturals,Zephyr HVAC"
)

"""The 44 items of CLAIM's 2024 update, each with its number in 2020's list.

2024 has no item of its own for two of 2020's: 11, definitions of data elements, and 17, annotation tools. Items without
a number of 2020 are new.

Reference:
    Mongan, Moy, Kahn, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM)", Radiology: Artificial
    Intelligence 2(2):e200029, 2020; Tejani, Klontzas, Gatti et al., "Checklist for Artificial Intelligence in Medical
    Imaging (CLAIM): 2024 Update", Radiology: Artificial Intelligence 6(4):e240300, 2024.
"""

from typing import NamedTuple


class ChecklistItem(NamedTuple):
    """One item of the checklist.

    Attributes:
        number: In the update of 2024.
        number_2020: In the list of 2020; None for a new one.
        section: Under which it stands.
        topic: What is to be reported.
        asked: What the authors have to write where the record does not tell.
    """

    number: int
    number_2020: int | None
    section: str
    topic: str
    asked: str


_BY_SECTION: dict[str, tuple[tuple[int, int | None, str, str], ...]] = {
    "Title and abstract": (
        (1, 1, "Study of AI methodology, with the category of technology", "a title that names the technology"),
        (2, 2, "Summary of design, methods, results and conclusions", "the abstract"),
    ),
    "Introduction": (
        (3, 3, "Scientific or clinical background, intended use and role of the AI", "background and intended use"),
        (4, 4, "Aims, objectives and hypotheses", "aims and hypotheses"),
    ),
    "Methods: study design": (
        (5, 5, "Prospective or retrospective study", "which of the two"),
        (6, 6, "Study goal", "model creation, comparison, feasibility, non-inferiority, …"),
    ),
    "Methods: data": (
        (7, 7, "Data sources", "institutions, dates, whether the data are public"),
        (8, 8, "Inclusion and exclusion criteria", "how patients and images came into the data set"),
        (9, 9, "Data preprocessing", "every step between the recorded and the scored image"),
        (10, 10, "Selection of data subsets", "whether frames, regions or patches were chosen, and how"),
        (11, 12, "De-identification", "how names, dates and overlays were removed"),
        (12, 13, "How missing data were handled", "what was left out, and why"),
        (13, None, "Image acquisition protocol", "endoscopes, light, resolution, bowel preparation"),
    ),
    "Methods: reference standard": (
        (14, 14, "How the reference standard was obtained", "how the masks were drawn"),
        (15, 15, "Rationale for the reference standard", "why drawn masks, and not histology or another standard"),
        (16, 16, "Source of the annotations", "who drew the masks, and their qualification"),
        (17, None, "Annotation of the test set", "whether the test set was annotated otherwise than the rest"),
        (18, 18, "Variability between and within annotators", "agreement of annotators, how disagreement was settled"),
    ),
    "Methods: data partitions": (
        (19, 20, "How data were assigned to partitions", "the split and its shares"),
        (20, 21, "Level at which partitions are disjoint", "image, sequence, patient or institution"),
    ),
    "Methods: testing data": ((21, 19, "Intended sample size", "how the number of test images was determined"),),
    "Methods: model": (
        (22, 22, "Detailed description of the model", "inputs, layers, connections, outputs"),
        (23, 23, "Software libraries, frameworks and packages", "names and versions"),
        (24, 24, "Initialisation of the model's parameters", "random, or from which pre-trained weights"),
    ),
    "Methods: training": (
        (25, 25, "Details of the training", "augmentation, hyperparameters, number of models trained"),
        (26, 26, "How the final model was selected", "on which images, by which figure"),
        (27, 27, "Ensembling", "whether several models were combined"),
    ),
    "Methods: evaluation": (
        (28, 28, "Metrics of the model's performance", "metrics and why they were chosen"),
        (29, 29, "Measures of significance and uncertainty", "intervals and tests"),
        (30, 30, "Robustness or sensitivity analysis", "what was varied, and what came of it"),
        (31, 31, "Methods of explanation, and their validation", "which maps are shown, how they were validated"),
        (32, None, "Evaluation on internal data", "figures on held-out data of the same source"),
        (33, 32, "Testing on external data", "figures on data of another institution, and how they differ"),
        (34, 40, "Registration of a clinical trial", "registry and number, or that there is none"),
    ),
    "Results: data": (
        (35, 33, "Patients or examinations included and excluded", "numbers of patients, a flow diagram"),
        (36, 34, "Demographic and clinical characteristics of each partition", "age, sex, polyp types, indications"),
    ),
    "Results: model performance": (
        (37, 35, "Performance, with its uncertainty", "figures on all partitions"),
        (38, 36, "Estimates of diagnostic performance, and their precision", "per polyp, per patient"),
        (39, 37, "Failure analysis", "what the wrong results have in common"),
    ),
    "Discussion": (
        (40, 38, "Limitations of the study", "limitations, bias, what it does not show"),
        (41, 39, "Implications for practice", "intended use, clinical role"),
    ),
    "Other information": (
        (42, 41, "Full study protocol, or further technical details", "where it is"),
        (43, None, "Availability of software, model and data", "where, and on what terms"),
        (44, 42, "Funding and other support, role of funders", "funders and their role"),
    ),
}

ITEMS = tuple(
    ChecklistItem(number, old, section, *words) for section, rows in _BY_SECTION.items() for number, old, *words in rows
)
"""In the order of their numbers."""

"""Under which headings CVs put what, in the languages that we know.

A heading that is not listed is read as a line of the section before it: nothing is lost, it only stands elsewhere.
"""

from enum import StrEnum

from consumers.documents.words import squeezed


class Section(StrEnum):
    CONTACT = "contact"
    SUMMARY = "summary"
    EXPERIENCE = "experience"
    EDUCATION = "education"
    SKILLS = "skills"
    OTHER = "other"


_HEADINGS = {
    Section.CONTACT: """
        contact; contact details; contact information; personal details; personal information; personal data
        Kontakt; Persönliche Daten; coordonnées; informations personnelles; contacto; datos personales; contato
        dados pessoais; contatti; dati personali; persoonlijke gegevens; dane osobowe; контакты; личные данные; контакти
        iletişim; kişisel bilgiler; معلومات الاتصال; פרטים אישיים; संपर्क; 联系方式; 個人資料; 个人信息; 連絡先; 연락처
        """,
    Section.SUMMARY: """
        summary; professional summary; executive summary; career summary; profile; professional profile; about; about me
        objective; career objective; Profil; Über mich; Kurzprofil; Zusammenfassung; profil professionnel; à propos
        résumé professionnel; resumen; resumen profesional; perfil; perfil profesional; sobre mí; objetivo; resumo
        perfil profissional; sobre mim; profilo; profilo professionale; profiel; samenvatting; over mij; podsumowanie
        o mnie; profil zawodowy; о себе; обо мне; профиль; про мене; özet; hakkımda; profilim; الملخص; نبذة عني; תקציר
        אודות; सारांश; परिचय; 个人简介; 自我评价; 個人簡介; 自己紹介; 自己PR; 職務要約; 要約; 자기소개; 요약
        """,
    Section.EXPERIENCE: """
        experience; work experience; professional experience; employment; employment history; work history
        career history; relevant experience; Berufserfahrung; Beruflicher Werdegang; Berufspraxis; expérience
        expériences; expérience professionnelle; expériences professionnelles; experiencia; experiencia profesional
        experiencia laboral; experiência; experiência profissional; esperienza; esperienze lavorative
        esperienza professionale; werkervaring; ervaring; doświadczenie; doświadczenie zawodowe; arbetslivserfarenhet
        erhvervserfaring; опыт; опыт работы; досвід роботи; deneyim; iş deneyimi; الخبرة; الخبرات; الخبرات العملية
        ניסיון; ניסיון תעסוקתי; अनुभव; कार्य अनुभव; 工作经历; 工作经验; 工作經歷; 職歴; 職務経歴; 경력; 경력사항
        """,
    Section.EDUCATION: """
        education; academic background; qualifications; education and training; Ausbildung; Bildung
        Bildungsweg; Studium; Schulbildung
        formation; formations; études; diplômes; educación; formación; formación académica; estudios
        educação; formação; formação acadêmica; istruzione; formazione; istruzione e formazione; opleiding; opleidingen
        wykształcenie; edukacja; utbildning; uddannelse; образование; освіта; eğitim; التعليم; المؤهلات; השכלה; शिक्षा
        教育背景; 教育经历; 學歷; 学歴; 학력; 학력사항
        """,
    Section.SKILLS: """
        skills; technical skills; key skills; core skills; core competencies; competencies; technologies; technology
        tools and technologies; expertise; Kenntnisse; Fähigkeiten; Kompetenzen; IT-Kenntnisse; Fachkenntnisse
        compétences; compétences techniques; habilidades; competencias; aptitudes; conocimientos; competências
        competenze; competenze tecniche; vaardigheden; competenties; umiejętności; kompetenser; färdigheter; навыки
        ключевые навыки; навички; beceriler; yetenekler; المهارات; כישורים; कौशल; 技能; 专业技能; 專業技能; スキル
        기술; 보유기술
        """,
    Section.OTHER: """
        languages; certifications; certificates; licenses; projects; personal projects; publications; awards; honours
        honors; interests; hobbies; references; volunteering; volunteer experience; courses; training; memberships
        Sprachen; Sprachkenntnisse; Zertifikate; Projekte; Interessen; Referenzen; Weiterbildung; Ehrenamt; langues
        certificats; projets; centres d'intérêt; loisirs; références; idiomas; certificaciones; certificados; proyectos
        intereses; referencias; certificações; projetos; interesses; referências; lingue; certificazioni; progetti
        interessi; talen; certificaten; projecten; interesses; języki; certyfikaty; projekty; zainteresowania; språk
        языки; сертификаты; проекты; интересы; мови; diller; sertifikalar; projeler; اللغات; الشهادات; المشاريع; שפות
        भाषाएँ; 语言; 語言; 证书; 證照; 项目经历; 項目經歷; 語学; 資格; 言語; 언어; 자격증; 프로젝트
        """,
}

SECTIONS = {
    squeezed(heading): section
    for section, headings in _HEADINGS.items()
    for line in headings.strip().splitlines()
    for heading in line.split(";")
}

DOCUMENT_TITLES = frozenset(
    squeezed(title)
    for title in (
        "curriculum vitae", "cv", "resume", "résumé", "Lebenslauf", "hoja de vida", "currículo", "życiorys", "резюме",
        "özgeçmiş", "السيرة الذاتية", "קורות חיים", "简历", "個人簡歷", "履歴書", "職務経歴書", "이력서",
    )
)  # fmt: skip


def section_of(heading: str) -> Section | None:
    """The section that this line begins; None if it is no heading that we know."""
    return SECTIONS.get(squeezed(heading).lstrip("0123456789"))

"""What a scrape function holds: the session, its pages and their forms."""

from windrow.session.blocking import BlockingSession
from windrow.session.factory import SessionFactory
from windrow.session.form import Form
from windrow.session.page import Element, Page
from windrow.session.session import Session, SessionSettings
from windrow.session.wanted import Expect

__all__ = ["BlockingSession", "Element", "Expect", "Form", "Page", "Session", "SessionFactory", "SessionSettings"]

"""Report: fits as one page of HTML that needs nothing from elsewhere, for readers who are no statisticians."""

from mixtura.apps.report.methods import methods
from mixtura.apps.report.page import check_installed, installed, page
from mixtura.apps.report.subject import Fitted

__all__ = ["Fitted", "check_installed", "installed", "methods", "page"]

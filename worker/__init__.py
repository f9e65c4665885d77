"""
Dateline: news feeds in; judged, tagged and routed records out.

feeds -> loops/poller -> news.raw -> loops/enricher: extract -> judge -> tag -> route -> news.enriched
                                                                     |-> news.<route>
                                                                     |-> news.duplicates
                                                                     `-> news.dead-letter
Import rule: cli -> wiring -> edges, loops -> stages, ports -> records. `stages/` computes and touches nothing.
"""

__version__ = "0.1.0"

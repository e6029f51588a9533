"""Statistics over runs: intervals, paired comparisons, error analysis, risk control."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.evaluation.analysis.compare import Comparison as Comparison
    from llmkit.evaluation.analysis.compare import Gate as Gate
    from llmkit.evaluation.analysis.compare import gate as gate
    from llmkit.evaluation.analysis.error_analysis import Blame as Blame
    from llmkit.evaluation.analysis.error_analysis import blame as blame
    from llmkit.evaluation.analysis.judge_calibration import calibrate as calibrate
    from llmkit.evaluation.analysis.regressions import flips as flips
    from llmkit.evaluation.analysis.risk_control import learn as learn
    from llmkit.evaluation.analysis.statistics import Interval as Interval
    from llmkit.evaluation.analysis.statistics import Paired as Paired
    from llmkit.evaluation.analysis.statistics import detectable as detectable
    from llmkit.evaluation.analysis.statistics import holm as holm
    from llmkit.evaluation.analysis.statistics import mean_interval as mean_interval
    from llmkit.evaluation.analysis.statistics import paired as paired
    from llmkit.evaluation.analysis.statistics import wilson as wilson

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "compare": ["Comparison", "Gate", "gate"],
        "error_analysis": ["Blame", "blame"],
        "judge_calibration": ["calibrate"],
        "regressions": ["flips"],
        "risk_control": ["learn"],
        "statistics": ["Interval", "Paired", "detectable", "holm", "mean_interval", "paired", "wilson"],
    },
)

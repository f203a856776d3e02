"""Views of plans: a plan becomes one small tree of parts, and that becomes text or HTML. They compute no costs."""

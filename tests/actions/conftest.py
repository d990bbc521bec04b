from hypothesis import HealthCheck, settings

# A slow or busy machine is no fault of the code: no deadline per example, none for the making of examples.
settings.register_profile("pivotmine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pivotmine")

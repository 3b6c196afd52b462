"""DriftMonitor: observe -> decide -> status. Watches a ModelDeployment's counters and reports exact windows; judges nothing yet."""

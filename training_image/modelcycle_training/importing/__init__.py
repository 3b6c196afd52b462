"""`bundle import`: a model that was made elsewhere into the same `model/` folder that trials write.

For people at a command line, not for Jobs: it reads files, writes a folder and prints what it did. It never imports mlflow.
"""

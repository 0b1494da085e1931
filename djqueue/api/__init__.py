"""The JSON API: the admin's lists and actions for machines, with the admin's permissions.

====== =======================================================
tokens who a caller is, without a session
access who may, and how errors look
lists  tasks, queues, workers, schedules, failures, statistics
acts   what the buttons of the admin do
====== =======================================================
"""

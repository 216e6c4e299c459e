"""The gunicorn worker: gunicorn's gevent worker with a connection loop made for proxying.

The only package that depends on gunicorn's internals; it imports nothing else of lbflask. It keeps gunicorn's parsers
and their checks, and replaces the loop around them: settings are read once per worker, a head must arrive within one
deadline, header fields keep order, case and repeats, `100 Continue` is sent when the body is read, the head of a
response is sent with the first piece of its body, and an incomplete response ends with a reset. It runs any WSGI
application.
"""

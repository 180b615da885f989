"""The desk in a browser and over HTTP: ``rabbitjobs.web.app.web_app`` makes it for any server."""

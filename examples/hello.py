"""Hello world. In one shell: rabbitjobs --app hello:app dev. In another: python -i hello.py"""

from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job()
def hello(name: str) -> str:
    """>>> hello.send("world").result()"""
    return f"hello {name}"

"""What a client is told when its request cannot be answered."""

from charrnn.errors import ConfigError
from charrnn.server.errors import RequestError, model_not_found, refused, too_many_requests


def test_an_error_has_the_four_fields_of_openai() -> None:
    error = RequestError(400, "wrong", param="n", code="bad_n")
    assert error.body() == {
        "error": {
            "message": "wrong",
            "type": "invalid_request_error",
            "param": "n",
            "code": "bad_n",
        }
    }


def test_a_status_that_nobody_listed_is_the_fault_of_the_server() -> None:
    assert RequestError(500, "broken").type == "server_error"


def test_an_unknown_model_lists_those_that_are_served() -> None:
    error = model_not_found("gpt-4", ("shakes", "tang"))
    assert (error.status, error.code) == (404, "model_not_found")
    assert "shakes, tang" in error.message


def test_a_full_queue_says_when_to_come_back() -> None:
    assert too_many_requests("full", 3).headers == {"Retry-After": "3"}


def test_an_error_of_the_library_speaks_of_parameters_and_not_of_options() -> None:
    assert refused(ConfigError("--top-k must be 1 or more")).message == "top_k must be 1 or more"

# What a trial asks for, with no more said than who is told and which detector runs.
mock_provider "azurerm" {
  source = "../../tests/mocks"
}

variables {
  alert_emails = ["ops@example.com"]
  detector     = "pump-pressure"
}

run "first_apply" {
  assert {
    condition     = output.rights_url == null && startswith(nonsensitive(output.eventhub_send_connection_string), "Endpoint=sb://")
    error_message = "the first apply must make the places and run nothing"
  }
}

run "an_empty_tag_is_none" {
  command = plan

  variables {
    release_tag = ""
  }

  assert {
    condition     = output.rights_url == null
    error_message = "azd gives an empty text where nothing is set: it must mean the first apply"
  }
}

run "second_apply" {
  variables {
    release_tag = "1.0.0"
    trust_root  = "{\"payload\":\"\"}"
  }

  assert {
    condition     = startswith(output.rights_url, "https://")
    error_message = "with images there, programs must run"
  }
}

run "without_a_root_of_trust" {
  command = plan

  variables {
    release_tag     = "1.0.0"
    trust_root_file = "nowhere.json"
  }

  expect_failures = [var.trust_root_file]
}

run "retraining_without_its_file" {
  command = plan

  variables {
    release_tag = "1.0.0"
    trust_root  = "{}"
    retraining  = { schedule = "0 3 * * 1", config_file = "nowhere.toml" }
  }

  expect_failures = [var.retraining]
}

# What production asks for, with no more said than who is told and which detector runs.
mock_provider "azurerm" {
  source = "../../tests/mocks"
}

variables {
  alert_emails = ["ops@example.com"]
  detector     = "pump-pressure"
  release_tag  = "1.0.0"
  trust_root   = "{\"payload\":\"\"}"
}

run "closed_and_without_keys" {
  assert {
    condition     = nonsensitive(output.eventhub_send_connection_string) == null && nonsensitive(output.edge_uplink_connection_string) == null
    error_message = "production must have no key"
  }

  assert {
    condition     = output.network_id != null && length(output.dns_zones) >= 8
    error_message = "production must be in a network of its own"
  }

  assert {
    condition     = contains(output.alerts, "TwingeAbsent") && contains(output.alerts, "TwingeRestarts")
    error_message = "production always has hosts, so that their silence is an alert"
  }
}

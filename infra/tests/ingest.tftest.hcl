# Event Hubs: closed, without keys where they are not asked for, and kept for as long as was said.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name = "twinge-test"
  location            = "westeurope"
  tags                = {}
  namespace_name      = "twinge-test-00000"
  public_access       = false
  send_keys           = false
  throughput_units    = { least = 2, most = 10 }
  partitions          = 16
  retention_hours     = 168
}

run "closed" {
  module {
    source = "./modules/ingest"
  }

  assert {
    condition = (
      !azurerm_eventhub_namespace.this.public_network_access_enabled && !azurerm_eventhub_namespace.this.local_authentication_enabled
      && azurerm_eventhub_namespace.this.network_rulesets[0].default_action == "Deny"
    )
    error_message = "the namespace must be closed to the internet, and know identities only"
  }

  assert {
    condition     = azurerm_eventhub_namespace.this.minimum_tls_version == "1.2"
    error_message = "TLS 1.2 must be the least"
  }

  assert {
    condition     = azurerm_eventhub_namespace.this.auto_inflate_enabled && azurerm_eventhub_namespace.this.maximum_throughput_units == 10
    error_message = "throughput must rise by itself, and not beyond what was said"
  }

  assert {
    condition     = sort(keys(azurerm_eventhub.all)) == sort(["alerts", "dead-letters", "events", "verdicts"])
    error_message = "hubs must be events, verdicts, dead letters and alerts"
  }

  assert {
    condition     = alltrue([for hub in azurerm_eventhub.all : hub.retention_description[0].retention_time_in_hours == 168])
    error_message = "each hub must keep what it took for retention_hours"
  }

  assert {
    condition     = azurerm_eventhub.all["events"].partition_count == 16 && azurerm_eventhub.all["verdicts"].partition_count == 16
    error_message = "events and verdicts must have as many partitions as was said"
  }

  assert {
    condition     = length(azurerm_eventhub_authorization_rule.send) == 0 && length(azurerm_resource_group_template_deployment.captured) == 0
    error_message = "no key and no copy may be made that nobody asked for"
  }

  assert {
    condition     = azurerm_eventhub_consumer_group.all["host"].name == "host" && azurerm_eventhub_consumer_group.all["look-events"].name == "look"
    error_message = "hosts and people must read events in groups of their own"
  }
}

run "with_keys" {
  variables {
    public_access = true
    send_keys     = true
  }

  module {
    source = "./modules/ingest"
  }

  assert {
    condition = (
      sort(keys(azurerm_eventhub_authorization_rule.send)) == sort(["events", "verdicts"])
      && alltrue([for rule in azurerm_eventhub_authorization_rule.send : rule.send && !rule.listen && !rule.manage])
    )
    error_message = "a key may send to one hub, and neither read nor manage"
  }
}

run "captured" {
  variables {
    capture              = { storage_account_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/twingelake", container = "capture" }
    capture_container_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/twingelake/blobServices/default/containers/capture"
  }

  module {
    source = "./modules/ingest"
  }

  assert {
    condition     = !contains(keys(azurerm_eventhub.all), "events")
    error_message = "a hub that is captured by identity is the template's, and must not be made twice"
  }

  assert {
    condition = (
      jsondecode(azurerm_resource_group_template_deployment.captured[0].template_content).resources[0].properties.captureDescription.destination.identity.type == "UserAssigned"
      && jsondecode(azurerm_resource_group_template_deployment.captured[0].template_content).resources[0].properties.partitionCount == 16
      && jsondecode(azurerm_resource_group_template_deployment.captured[0].template_content).resources[0].properties.retentionDescription.retentionTimeInHours == 168
    )
    error_message = "the copy must be written by an identity, since the account has no keys; all else must be as without it"
  }

  assert {
    condition     = endswith(azurerm_role_assignment.capture[0].scope, "/containers/capture")
    error_message = "Event Hubs may write to the container of its copy, and nowhere else"
  }
}

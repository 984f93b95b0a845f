# Production with everything that can be had, applied against answers that Azure would give.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  environment        = "prod"
  alert_emails       = ["ops@example.com"]
  budget             = 1500
  detector           = "pump-pressure"
  operators          = { ann = "00000000-0000-0000-0000-00000000000a" }
  throughput_units   = { least = 2, most = 10 }
  partitions         = 16
  retention_hours    = 168
  replication        = "ZRS"
  deleted_days       = 30
  version_days       = 365
  lake_keep_days     = 400
  log_retention_days = 90
  log_daily_gb       = 10
  capture_days       = 7
  host               = { replicas_least = 2, replicas_most = 8, cpu = 1, lag_events = 50000 }
  release            = { tag = "1.0.0", trust_root = "{\"payload\":\"\"}" }
  retraining         = { schedule = "0 3 * * 1", config = "name = \"pump-pressure\"" }
  github_repository  = "twinge/twinge"
  device_rights      = true
  iot_hub_units      = 1
  learning           = true
  online_endpoint    = { image = "example.azurecr.io/score:1" }
  site               = true
}

run "everything" {
  # The places where no key is.
  assert {
    condition = (
      nonsensitive(output.eventhub_send_connection_string) == null && nonsensitive(output.edge_uplink_connection_string) == null
      && nonsensitive(output.eventhub_name) == null && nonsensitive(output.storage_account_name) == null
      && nonsensitive(output.storage_container_name) == null
    )
    error_message = "prod must tell no connection string, and nothing that goes with one"
  }

  # `cargo xtask test --only infrastructure` starts the programs with what stands in this file.
  assert {
    condition     = output.host_environment == tomap(jsondecode(file("tests/outputs/prod.json")).host_environment.value)
    error_message = "host_environment must be what tests/outputs/prod.json says, since programs are tested with that: it is ${jsonencode(output.host_environment)}"
  }

  assert {
    condition     = output.trainer_environment == tomap(jsondecode(file("tests/outputs/prod.json")).trainer_environment.value)
    error_message = "trainer_environment must be what tests/outputs/prod.json says: it is ${jsonencode(output.trainer_environment)}"
  }

  assert {
    condition     = output.edge_agent_environment == tomap(jsondecode(file("tests/outputs/prod.json")).edge_agent_environment.value)
    error_message = "edge_agent_environment must be what tests/outputs/prod.json says: it is ${jsonencode(output.edge_agent_environment)}"
  }

  assert {
    condition = (
      output.edge_agent_environment["TWINGE_UPLINK__KIND"] == "iothub"
      && output.edge_agent_environment["TWINGE_RIGHTS"] == output.rights_url && startswith(output.rights_url, "https://")
    )
    error_message = "devices of prod must send by IoT Hub, where each has a key of its own, and ask for rights over https"
  }

  assert {
    condition = (
      can(regex("^[a-z0-9-]+\\.servicebus\\.windows\\.net$", output.host_environment["EVENTHUB_NAMESPACE"]))
      && can(regex("^https://[a-z0-9]{3,24}\\.blob\\.core\\.windows\\.net/registry$", output.host_environment["TWINGE_REGISTRY"]))
      && can(regex("^https://[a-z0-9]{3,24}\\.blob\\.core\\.windows\\.net/checkpoints$", output.host_environment["TWINGE_CHECKPOINTS"]))
      && can(regex("^abfss://lake@[a-z0-9]{3,24}\\.dfs\\.core\\.windows\\.net$", output.host_environment["TWINGE_LAKE"]))
    )
    error_message = "addresses must be written as the programs read them"
  }

  assert {
    condition     = output.trainer_environment["TWINGE_REGISTRY"] == output.host_environment["TWINGE_REGISTRY"] && output.trainer_environment["TWINGE_LAKE"] == output.host_environment["TWINGE_LAKE"]
    error_message = "the trainer must publish to the registry that hosts follow, and learn from the lake that they fill"
  }

  # Whatever is closed to the internet has a private endpoint.
  assert {
    condition = sort(keys(module.endpoints[0].endpoint_ids)) == sort([
      "checkpoints", "devices", "hubs", "images", "lake", "lake-dfs", "learning", "learning-files",
      "modules", "page", "page-files", "telemetry", "vault",
    ])
    error_message = "each closed service must have a private endpoint, or nobody reaches it"
  }

  assert {
    condition = (
      length(output.dns_zones) >= 10 && contains(output.dns_zones, "privatelink.servicebus.windows.net")
      && anytrue([for zone in output.dns_zones : endswith(output.rights_url, ".${zone}")])
    )
    error_message = "peered networks must be told the zones in which the endpoints are found"
  }

  assert {
    condition     = sort(module.compute.job_names) == sort(["twinge-prod-lake-compact", "twinge-prod-lake-expire", "twinge-prod-retrain", "twinge-prod-retrain-drift"])
    error_message = "jobs must be: retraining by the clock and after drift, and keeping the lake"
  }

  assert {
    condition     = sort(keys(output.pipeline_client_ids)) == sort(["images", "model-promote", "model-recover", "model-shadow"])
    error_message = "each environment of the repository that model.yml and release.yml name must have an identity"
  }

  assert {
    condition     = azurerm_resource_group.this.tags == tomap({ application = "twinge", environment = "prod", managed-by = "terraform" })
    error_message = "tags must come from modules/names"
  }
}

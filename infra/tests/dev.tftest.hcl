# A trial: first the places, then what runs in them.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  environment        = "dev"
  public_access      = true
  send_keys          = true
  alert_emails       = ["ops@example.com"]
  budget             = 150
  detector           = "pump-pressure"
  throughput_units   = { least = 1, most = 2 }
  partitions         = 4
  retention_hours    = 24
  replication        = "LRS"
  deleted_days       = 7
  version_days       = 30
  lake_keep_days     = 30
  log_retention_days = 30
  log_daily_gb       = 1
  host               = { replicas_least = 0, replicas_most = 2, cpu = 0.5, lag_events = 10000 }
  device_rights      = true
}

run "before_images_are_there" {
  assert {
    condition     = length(module.compute.host_ids) == 0 && length(module.compute.job_names) == 0 && output.rights_url == null
    error_message = "nothing may be started whose image is not there yet"
  }

  assert {
    condition     = !contains(keys(output.edge_agent_environment), "TWINGE_RIGHTS")
    error_message = "devices must not be told of an address that nobody answers at"
  }

  assert {
    condition     = !contains(output.alerts, "TwingeRestarts") && !contains(output.alerts, "TwingeAbsent")
    error_message = "what does not run must raise no alarm"
  }
}

run "with_programs" {
  variables {
    release = { tag = "1.0.0", trust_root = "{\"payload\":\"\"}" }
  }

  assert {
    condition     = length(module.compute.host_ids) == 1 && startswith(output.rights_url, "https://twinge-dev-rights.")
    error_message = "host and rights must run once their image is there"
  }

  assert {
    condition = (
      startswith(nonsensitive(output.eventhub_send_connection_string), "Endpoint=sb://")
      && nonsensitive(output.eventhub_name) == "events" && nonsensitive(output.storage_container_name) == "registry"
      && length(nonsensitive(output.storage_account_name)) <= 24
    )
    error_message = "dev must tell what the seed tells: a connection string that sends, the hub, account and container"
  }

  # `cargo xtask test --only infrastructure` starts the programs with what stands in this file.
  assert {
    condition     = output.host_environment == tomap(jsondecode(file("tests/outputs/dev.json")).host_environment.value)
    error_message = "host_environment must be what tests/outputs/dev.json says, since programs are tested with that: it is ${jsonencode(output.host_environment)}"
  }

  assert {
    condition     = output.trainer_environment == tomap(jsondecode(file("tests/outputs/dev.json")).trainer_environment.value)
    error_message = "trainer_environment must be what tests/outputs/dev.json says: it is ${jsonencode(output.trainer_environment)}"
  }

  assert {
    condition     = output.edge_agent_environment == tomap(jsondecode(file("tests/outputs/dev.json")).edge_agent_environment.value)
    error_message = "edge_agent_environment must be what tests/outputs/dev.json says: it is ${jsonencode(output.edge_agent_environment)}"
  }

  assert {
    condition     = output.network_id == null && length(output.dns_zones) == 0
    error_message = "a trial must have no network to pay for"
  }
}

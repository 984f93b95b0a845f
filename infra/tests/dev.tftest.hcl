# A trial: the whole deployment as envs/dev asks for it.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  environment        = "dev"
  public_access      = true
  send_keys          = true
  alert_emails       = ["ops@example.com"]
  budget             = 100
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
}

run "first" {
  assert {
    condition     = length(module.compute.host_ids) == 0
    error_message = "no host may run before its image is there"
  }
}

run "with_programs" {
  variables {
    release       = { tag = "1.0.0", trust_root = "{\"payload\":\"\"}" }
    device_rights = true
    site          = true
  }

  assert {
    condition     = length(module.compute.host_ids) == 1
    error_message = "the host must be made once its image is there"
  }
}

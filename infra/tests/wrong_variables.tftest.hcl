# Wrong variables are refused. Each message says what would be right; the variables say it (variables.tf).
# A run may have several: each that it expects to fail has to.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  environment        = "prod"
  alert_emails       = ["ops@example.com"]
  budget             = 100
  detector           = "pump-pressure"
  throughput_units   = { least = 1, most = 2 }
  partitions         = 4
  retention_hours    = 24
  replication        = "ZRS"
  deleted_days       = 7
  version_days       = 30
  lake_keep_days     = 30
  log_retention_days = 90
  log_daily_gb       = 1
  host               = { replicas_least = 2, replicas_most = 4, cpu = 0.5, lag_events = 10000 }
}

run "values_that_make_no_sense" {
  command = plan

  variables {
    name                  = "Twinge"
    location              = "West Europe"
    address_space         = "10.0.0.0/26"
    operators             = { ann = "ann@example.com" }
    alert_emails          = []
    alert_webhooks        = { pager = "http://example.com" }
    budget                = 0
    github_repository     = "https://github.com/twinge/twinge"
    detector              = "pump_pressure"
    channel               = "Stable"
    collector_tag         = "latest"
    throughput_units      = { least = 4, most = 2 }
    retention_hours       = 1
    capture_days          = 0
    replication           = "three"
    deleted_days          = 0
    version_days          = 1
    report_days           = 1
    lake_keep_days        = 0
    lake_cool_days        = 0
    log_retention_days    = 100
    log_daily_gb          = 5000
    device_rights_days    = 30
    checkpoint_seconds    = 0
    ownership_seconds     = 1
    device_poll_seconds   = 0
    device_report_seconds = 900
    iot_hub_units         = 0.5
    release               = { tag = "1.0.0", trust_root = "keys/root.json" }
    host                  = { replicas_least = 2, replicas_most = 4, cpu = 0.1, lag_events = 1000 }
    online_endpoint       = { image = "example.azurecr.io/score:1" }
  }

  expect_failures = [
    var.name,
    var.location,
    var.address_space,
    var.operators,
    var.alert_emails,
    var.alert_webhooks,
    var.budget,
    var.github_repository,
    var.detector,
    var.channel,
    var.collector_tag,
    var.throughput_units,
    var.retention_hours,
    var.capture_days,
    var.replication,
    var.deleted_days,
    var.version_days,
    var.report_days,
    var.lake_keep_days,
    var.lake_cool_days,
    var.log_retention_days,
    var.log_daily_gb,
    var.device_rights_days,
    var.checkpoint_seconds,
    var.ownership_seconds,
    var.device_poll_seconds,
    var.device_report_seconds,
    var.iot_hub_units,
    var.release,
    var.online_endpoint,
    var.host,
  ]
}

run "an_environment_that_there_is_not" {
  command = plan

  variables {
    environment = "staging"
    partitions  = 64
  }

  expect_failures = [
    var.environment,
    var.partitions,
  ]
}

run "what_prod_must_not_have" {
  command = plan

  variables {
    public_access      = true
    send_keys          = true
    replication        = "LRS"
    log_retention_days = 30
    host               = { replicas_least = 1, replicas_most = 4, cpu = 0.5, lag_events = 1000 }
  }

  expect_failures = [
    var.public_access,
    var.send_keys,
    var.replication,
    var.log_retention_days,
    var.host,
  ]
}

run "more_hosts_than_partitions" {
  command = plan

  variables {
    name    = "anomalydetection"
    host    = { replicas_least = 2, replicas_most = 9, cpu = 0.5, lag_events = 1000 }
    release = { tag = "registry/host:1", trust_root = "{}" }
  }

  expect_failures = [
    var.name,
    var.host,
    var.release,
  ]
}

run "retraining_of_another_detector" {
  command = plan

  variables {
    release    = { tag = "1.0.0", trust_root = "{}" }
    retraining = { schedule = "0 3 * * 1", config = "name = \"valves\"" }
  }

  expect_failures = [
    var.retraining,
  ]
}

run "retraining_by_a_word" {
  command = plan

  variables {
    release    = { tag = "1.0.0", trust_root = "{}" }
    retraining = { schedule = "weekly", config = "name = \"pump-pressure\"" }
  }

  expect_failures = [
    var.retraining,
  ]
}

run "retraining_before_there_are_images" {
  command = plan

  variables {
    retraining = { schedule = "0 3 * * 1", config = "name = \"pump-pressure\"" }
  }

  expect_failures = [
    var.retraining,
  ]
}

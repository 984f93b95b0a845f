# A trial: small, reached from the internet by identity, with the seed's connection strings, and nothing that
# runs while nothing is sent but the app that gives devices their rights.
module "twinge" {
  source = "../.."

  environment   = "dev"
  name          = var.name
  location      = var.location
  operators     = var.operators
  alert_emails  = var.alert_emails
  budget        = var.budget
  detector      = var.detector
  public_access = true
  send_keys     = true

  throughput_units = { least = 1, most = 2 }
  partitions       = 4
  retention_hours  = 24
  host             = { replicas_least = 0, replicas_most = 2, cpu = 0.5, lag_events = 20000 }

  replication        = "LRS"
  deleted_days       = 7
  version_days       = 30
  lake_keep_days     = 30
  log_retention_days = 30
  log_daily_gb       = 1

  device_rights = true
  iot_hub_units = var.iot_hub_units
  learning      = var.learning
  site          = true

  github_repository = var.github_repository

  release = try(length(var.release_tag), 0) == 0 ? null : {
    tag        = var.release_tag
    trust_root = var.trust_root == null ? file(var.trust_root_file) : var.trust_root
  }

  retraining = var.retraining == null ? null : { schedule = var.retraining.schedule, config = file(var.retraining.config_file) }
}

# Production: closed to the internet, no keys, hosts in three buildings, and what is deleted can be brought back.
module "twinge" {
  source = "../.."

  environment    = "prod"
  name           = var.name
  location       = var.location
  operators      = var.operators
  alert_emails   = var.alert_emails
  alert_webhooks = var.alert_webhooks
  budget         = var.budget
  detector       = var.detector
  public_access  = false
  send_keys      = false
  address_space  = var.address_space

  throughput_units = var.throughput_units
  partitions       = var.partitions
  retention_hours  = 168
  host             = var.host

  replication        = var.replication
  capture_days       = var.capture_days
  deleted_days       = 30
  version_days       = 365
  lake_keep_days     = 400
  log_retention_days = 90
  log_daily_gb       = 10

  device_rights = true
  iot_hub_units = var.iot_hub_units
  learning      = var.learning
  site          = var.site

  github_repository = var.github_repository

  release = try(length(var.release_tag), 0) == 0 ? null : {
    tag        = var.release_tag
    trust_root = var.trust_root == null ? file(var.trust_root_file) : var.trust_root
  }

  retraining = var.retraining == null ? null : { schedule = var.retraining.schedule, config = file(var.retraining.config_file) }
}

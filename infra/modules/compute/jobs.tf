# What runs now and then: retraining by the clock and after drift, and keeping the lake.
locals {
  # All secrets of a job lie as files of their names in one folder.
  settings_folder = "/etc/twinge"

  retrainings = var.programs == null || var.retraining == null ? {} : {
    retrain       = { reason = "schedule", schedule = var.retraining.schedule }
    retrain-drift = { reason = "drift", schedule = null }
  }

  trainer_variables = merge(var.trainer_environment, {
    AZURE_CLIENT_ID    = var.identities["trainer"].client_id
    TWINGE_HOME        = "/state"
    TWINGE_SIGNING_KEY = "${local.settings_folder}/retrainer-key"
    TWINGE_TRUST       = "${local.settings_folder}/trust-root"
  })

  keepings = var.programs == null ? {} : {
    lake-compact = { schedule = "17 * * * *", arguments = ["lake", "compact"] }
    lake-expire  = { schedule = "41 2 * * *", arguments = ["lake", "expire", "--keep-days", tostring(var.lake_keep_days)] }
  }

  keeper_variables = {
    AZURE_CLIENT_ID = var.identities["keeper"].client_id
    TWINGE_LAKE     = var.host_environment["TWINGE_LAKE"]
  }
}

resource "azurerm_container_app_job" "retrain" {
  for_each = local.retrainings

  name                         = "${var.base_name}-${each.key}"
  resource_group_name          = var.resource_group_name
  location                     = var.location
  container_app_environment_id = azurerm_container_app_environment.this.id
  workload_profile_name        = "Consumption"
  replica_timeout_in_seconds   = var.retraining.timeout_minutes * 60
  # A challenger that its gates refused would be refused again.
  replica_retry_limit = 0
  tags                = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [var.identities["trainer"].id]
  }

  registry {
    server   = var.programs.image_server
    identity = var.identities["trainer"].id
  }

  dynamic "schedule_trigger_config" {
    for_each = each.value.schedule == null ? [] : [each.value.schedule]

    content {
      cron_expression          = schedule_trigger_config.value
      parallelism              = 1
      replica_completion_count = 1
    }
  }

  dynamic "manual_trigger_config" {
    for_each = each.value.schedule == null ? [true] : []

    content {
      parallelism              = 1
      replica_completion_count = 1
    }
  }

  secret {
    name  = "trust-root"
    value = var.programs.trust_root
  }

  secret {
    name  = "detector-toml"
    value = var.retraining.config
  }

  secret {
    name                = "retrainer-key"
    key_vault_secret_id = var.retraining.key_secret_uri
    identity            = var.identities["trainer"].id
  }

  template {
    container {
      name   = "trainer"
      image  = var.programs.trainer_image
      cpu    = var.retraining.cpu
      memory = "${var.retraining.cpu * 2}Gi"
      args = [
        "retrain",
        "--config", "${local.settings_folder}/detector-toml",
        "--reason", each.value.reason,
        "--report", "/state/report",
      ]

      dynamic "env" {
        for_each = local.trainer_variables

        content {
          name  = env.key
          value = env.value
        }
      }

      volume_mounts {
        name = "settings"
        path = local.settings_folder
      }

      volume_mounts {
        name = "state"
        path = "/state"
      }
    }

    volume {
      name         = "settings"
      storage_type = "Secret"
    }

    volume {
      name         = "state"
      storage_type = "EmptyDir"
    }
  }
}

resource "azurerm_container_app_job" "keep" {
  for_each = local.keepings

  name                         = "${var.base_name}-${each.key}"
  resource_group_name          = var.resource_group_name
  location                     = var.location
  container_app_environment_id = azurerm_container_app_environment.this.id
  workload_profile_name        = "Consumption"
  replica_timeout_in_seconds   = 3600
  replica_retry_limit          = 1
  tags                         = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [var.identities["keeper"].id]
  }

  registry {
    server   = var.programs.image_server
    identity = var.identities["keeper"].id
  }

  schedule_trigger_config {
    cron_expression          = each.value.schedule
    parallelism              = 1
    replica_completion_count = 1
  }

  template {
    container {
      name   = "keeper"
      image  = var.programs.host_image
      cpu    = 0.5
      memory = "1Gi"
      args   = each.value.arguments

      dynamic "env" {
        for_each = local.keeper_variables

        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }
}

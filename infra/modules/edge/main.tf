# What devices need of the cloud: rights on the registry for proof of their key (docs/trust.md), and as an
# option IoT Hub as the way up.
locals {
  rights_programs = var.programs == null ? {} : { this = var.programs }
  port            = 8081

  # A host that takes no events: it follows a file that stays empty. What it serves beside rights (labels, status,
  # metrics, the model endpoint) it serves to itself alone; the image would serve that to all who reach it.
  rights_variables = {
    AZURE_CLIENT_ID             = var.identity.client_id
    TWINGE_CHANNEL              = var.channel
    TWINGE_DETECTOR             = var.detector
    TWINGE_DEVICE_RIGHTS        = var.registry_url
    TWINGE_DEVICE_RIGHTS_DAYS   = tostring(var.rights_days)
    TWINGE_DEVICE_RIGHTS_LISTEN = "0.0.0.0:${local.port}"
    TWINGE_FOLLOW               = "/dev/null"
    TWINGE_LISTEN               = "127.0.0.1:8080"
    TWINGE_REGISTRY             = var.registry_url
    TWINGE_STATE                = "/state"
    TWINGE_TRUST                = "/etc/twinge/trust-root"
  }
}

resource "azurerm_container_app" "rights" {
  for_each = local.rights_programs

  name                         = "${var.base_name}-rights"
  resource_group_name          = var.resource_group_name
  container_app_environment_id = var.environment_id
  workload_profile_name        = "Consumption"
  revision_mode                = "Single"
  tags                         = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [var.identity.id]
  }

  registry {
    server   = each.value.image_server
    identity = var.identity.id
  }

  secret {
    name  = "trust-root"
    value = each.value.trust_root
  }

  # TLS ends here. In a closed environment "external" is the network, not the internet.
  ingress {
    external_enabled           = true
    allow_insecure_connections = false
    target_port                = local.port
    transport                  = "http"

    traffic_weight {
      latest_revision = true
      percentage      = 100
    }
  }

  template {
    # A nonce is known only where it was made, so there is one of this.
    min_replicas = 1
    max_replicas = 1

    container {
      name   = "rights"
      image  = each.value.host_image
      cpu    = 0.25
      memory = "0.5Gi"

      dynamic "env" {
        for_each = local.rights_variables

        content {
          name  = env.key
          value = env.value
        }
      }

      volume_mounts {
        name = "settings"
        path = "/etc/twinge"
      }

      volume_mounts {
        name = "state"
        path = "/state"
      }

      startup_probe {
        transport               = "HTTP"
        port                    = local.port
        path                    = "/livez"
        interval_seconds        = 5
        failure_count_threshold = 30
      }

      liveness_probe {
        transport               = "HTTP"
        port                    = local.port
        path                    = "/livez"
        interval_seconds        = 15
        failure_count_threshold = 4
      }

      readiness_probe {
        transport               = "HTTP"
        port                    = local.port
        path                    = "/readyz"
        interval_seconds        = 10
        failure_count_threshold = 3
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

resource "azurerm_user_assigned_identity" "iot" {
  count = var.iot_hub == null ? 0 : 1

  name                = "${var.base_name}-iot"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "iot" {
  count = var.iot_hub == null ? 0 : 1

  scope                = var.iot_hub.verdicts_hub_id
  role_definition_name = "Azure Event Hubs Data Sender"
  principal_id         = azurerm_user_assigned_identity.iot[0].principal_id
  principal_type       = "ServicePrincipal"
  description          = "IoT Hub sends verdicts of devices on"
}

# Devices have a key each; keys of the hub itself are off.
resource "azurerm_iothub" "this" {
  count = var.iot_hub == null ? 0 : 1

  name                          = "${var.unique_name}-devices"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  min_tls_version               = "1.2"
  local_authentication_enabled  = false
  public_network_access_enabled = var.public_access
  tags                          = var.tags

  sku {
    name     = "S1"
    capacity = var.iot_hub.units
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.iot[0].id]
  }

  # What no route takes would wait in a hub that nobody reads.
  fallback_route {
    enabled        = false
    source         = "DeviceMessages"
    endpoint_names = ["events"]
  }

  # Endpoint and route are resources of their own below.
  lifecycle {
    ignore_changes = [endpoint, route]
  }
}

resource "azurerm_iothub_endpoint_eventhub" "verdicts" {
  count = var.iot_hub == null ? 0 : 1

  name                = "verdicts"
  resource_group_name = var.resource_group_name
  iothub_id           = azurerm_iothub.this[0].id
  authentication_type = "identityBased"
  identity_id         = azurerm_user_assigned_identity.iot[0].id
  endpoint_uri        = var.iot_hub.verdicts_endpoint_uri
  entity_path         = var.iot_hub.verdicts_hub_name

  depends_on = [azurerm_role_assignment.iot]
}

resource "azurerm_iothub_route" "verdicts" {
  count = var.iot_hub == null ? 0 : 1

  name                = "verdicts"
  resource_group_name = var.resource_group_name
  iothub_name         = azurerm_iothub.this[0].name
  source              = "DeviceMessages"
  condition           = "true"
  endpoint_names      = [azurerm_iothub_endpoint_eventhub.verdicts[0].name]
  enabled             = true
}

resource "azurerm_role_assignment" "operators" {
  for_each = var.iot_hub == null ? {} : var.operators

  scope                = azurerm_iothub.this[0].id
  role_definition_name = "IoT Hub Registry Contributor"
  principal_id         = each.value
  description          = "makes devices known, and takes them away"
}

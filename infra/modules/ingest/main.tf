# Event Hubs: events in, verdicts, dead letters and alerts out.
locals {
  hubs = {
    events       = var.partitions
    verdicts     = var.partitions
    dead-letters = 2
    alerts       = 1
  }

  # Captured with an identity, which the provider cannot say, the hub of events is a template's.
  plain_hubs = var.capture == null ? local.hubs : { for name, count in local.hubs : name => count if name != "events" }
  hub_ids    = { for name in keys(local.hubs) : name => "${azurerm_eventhub_namespace.this.id}/eventhubs/${name}" }

  # Each host reads events in the group `host`; `look` is for people and their tools.
  groups = merge(
    { host = { hub = "events", group = "host" } },
    { for hub in keys(local.hubs) : "look-${hub}" => { hub = hub, group = "look" } },
  )

  keys = var.send_keys ? { events = "send-events", verdicts = "send-verdicts" } : {}
}

resource "azurerm_user_assigned_identity" "capture" {
  count = var.capture == null ? 0 : 1

  name                = "${var.namespace_name}-capture"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "capture" {
  count = var.capture == null ? 0 : 1

  scope                = var.capture_container_id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.capture[0].principal_id
  principal_type       = "ServicePrincipal"
  description          = "Event Hubs writes its copy of the events"
}

resource "azurerm_eventhub_namespace" "this" {
  name                          = var.namespace_name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  sku                           = "Standard"
  capacity                      = var.throughput_units.least
  auto_inflate_enabled          = true
  maximum_throughput_units      = var.throughput_units.most
  minimum_tls_version           = "1.2"
  local_authentication_enabled  = var.send_keys
  public_network_access_enabled = var.public_access
  tags                          = var.tags

  network_rulesets {
    default_action                 = var.public_access ? "Allow" : "Deny"
    public_network_access_enabled  = var.public_access
    trusted_service_access_enabled = true
  }

  dynamic "identity" {
    for_each = azurerm_user_assigned_identity.capture

    content {
      type         = "UserAssigned"
      identity_ids = [identity.value.id]
    }
  }

  # Auto-inflate raises the capacity, and an apply must not take it back.
  lifecycle {
    ignore_changes = [capacity]
  }
}

resource "azurerm_eventhub" "all" {
  for_each = local.plain_hubs

  name            = each.key
  namespace_id    = azurerm_eventhub_namespace.this.id
  partition_count = each.value

  retention_description {
    cleanup_policy          = "Delete"
    retention_time_in_hours = var.retention_hours
  }
}

resource "azurerm_resource_group_template_deployment" "captured" {
  count = var.capture == null ? 0 : 1

  name                = "${var.namespace_name}-captured"
  resource_group_name = var.resource_group_name
  deployment_mode     = "Incremental"
  tags                = var.tags

  template_content = jsonencode({
    "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    contentVersion = "1.0.0.0"
    resources = [{
      type       = "Microsoft.EventHub/namespaces/eventhubs"
      apiVersion = "2024-01-01"
      name       = "${var.namespace_name}/events"
      properties = {
        partitionCount       = var.partitions
        retentionDescription = { cleanupPolicy = "Delete", retentionTimeInHours = var.retention_hours }
        captureDescription = {
          enabled           = true
          encoding          = "Avro"
          intervalInSeconds = 300
          sizeLimitInBytes  = 314572800
          skipEmptyArchives = true
          destination = {
            name     = "EventHubArchive.AzureBlockBlob"
            identity = { type = "UserAssigned", userAssignedIdentity = azurerm_user_assigned_identity.capture[0].id }
            properties = {
              storageAccountResourceId = var.capture.storage_account_id
              blobContainer            = var.capture.container
              archiveNameFormat        = "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
            }
          }
        }
      }
    }]
  })

  depends_on = [azurerm_eventhub_namespace.this, azurerm_role_assignment.capture]
}

resource "azurerm_eventhub_consumer_group" "all" {
  for_each = local.groups

  name                = each.value.group
  namespace_name      = azurerm_eventhub_namespace.this.name
  eventhub_name       = each.value.hub
  resource_group_name = var.resource_group_name

  depends_on = [azurerm_eventhub.all, azurerm_resource_group_template_deployment.captured]
}

# One may send and neither read nor manage, each to one hub.
resource "azurerm_eventhub_authorization_rule" "send" {
  for_each = local.keys

  name                = each.value
  namespace_name      = azurerm_eventhub_namespace.this.name
  eventhub_name       = each.key
  resource_group_name = var.resource_group_name
  listen              = false
  send                = true
  manage              = false

  depends_on = [azurerm_eventhub.all, azurerm_resource_group_template_deployment.captured]
}

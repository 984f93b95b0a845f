# Where logs and metrics go, and who is told. Rules are in rules.tf, the picture in workbook.tf.
resource "azurerm_log_analytics_workspace" "this" {
  name                         = "${var.base_name}-logs"
  resource_group_name          = var.resource_group_name
  location                     = var.location
  sku                          = "PerGB2018"
  retention_in_days            = var.retention_days
  daily_quota_gb               = var.daily_gb
  local_authentication_enabled = false
  internet_ingestion_enabled   = var.public_access
  internet_query_enabled       = var.public_access
  tags                         = var.tags
}

# Its key stays on: the collector beside the host knows no identity. The key lets one write telemetry and read
# none, and lies in the host's secrets.
resource "azurerm_application_insights" "this" {
  name                       = "${var.base_name}-insights"
  resource_group_name        = var.resource_group_name
  location                   = var.location
  workspace_id               = azurerm_log_analytics_workspace.this.id
  application_type           = "other"
  retention_in_days          = var.retention_days
  daily_data_cap_in_gb       = var.daily_gb
  internet_ingestion_enabled = var.public_access
  internet_query_enabled     = var.public_access
  tags                       = var.tags
}

resource "azurerm_monitor_private_link_scope" "this" {
  count = var.public_access ? 0 : 1

  name                  = "${var.base_name}-telemetry"
  resource_group_name   = var.resource_group_name
  ingestion_access_mode = "PrivateOnly"
  query_access_mode     = "PrivateOnly"
  tags                  = var.tags
}

resource "azurerm_monitor_private_link_scoped_service" "all" {
  for_each = var.public_access ? {} : {
    logs     = azurerm_log_analytics_workspace.this.id
    insights = azurerm_application_insights.this.id
  }

  name                = each.key
  resource_group_name = var.resource_group_name
  scope_name          = azurerm_monitor_private_link_scope.this[0].name
  linked_resource_id  = each.value
}

resource "azurerm_monitor_action_group" "people" {
  name                = "${var.base_name}-people"
  resource_group_name = var.resource_group_name
  short_name          = "people"
  tags                = var.tags

  dynamic "email_receiver" {
    for_each = toset(var.emails)

    content {
      name                    = email_receiver.value
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }

  dynamic "webhook_receiver" {
    for_each = var.webhooks

    content {
      name                    = webhook_receiver.key
      service_uri             = webhook_receiver.value
      use_common_alert_schema = true
    }
  }
}

# Of storage, deletions are kept. A fleet reads and reports all day long, and what was written is told by versions,
# the change feed, and the signature on every document.
locals {
  diagnosed = {
    hubs     = { id = var.namespace_id, groups = ["allLogs"], categories = [] }
    vault    = { id = var.vault_id, groups = ["audit"], categories = [] }
    images   = { id = var.image_registry_id, groups = ["audit"], categories = [] }
    programs = { id = var.environment_id, groups = [], categories = ["ContainerAppConsoleLogs", "ContainerAppSystemLogs"] }
    registry = { id = "${var.storage_account_ids["registry"]}/blobServices/default", groups = [], categories = ["StorageDelete"] }
    lake     = { id = "${var.storage_account_ids["lake"]}/blobServices/default", groups = [], categories = ["StorageDelete"] }
  }
}

resource "azurerm_monitor_diagnostic_setting" "all" {
  for_each = local.diagnosed

  name                       = "to-logs"
  target_resource_id         = each.value.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id

  dynamic "enabled_log" {
    for_each = toset(each.value.groups)

    content {
      category_group = enabled_log.value
    }
  }

  dynamic "enabled_log" {
    for_each = toset(each.value.categories)

    content {
      category = enabled_log.value
    }
  }
}

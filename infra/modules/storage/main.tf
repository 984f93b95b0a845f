# Storage in three accounts, since what they need excludes each other (docs/decisions/0042):
# the lake has a hierarchical namespace, which has no versions; the registry has versions; checkpoints,
# which are replaced every few seconds, have neither versions nor soft delete.
locals {
  accounts = {
    lake = {
      hierarchical = true
      versions     = false
      recoverable  = true
      containers   = concat(["lake"], var.capture_days == null ? [] : ["capture"])
    }
    registry = {
      hierarchical = false
      versions     = true
      recoverable  = true
      containers   = ["registry"]
    }
    checkpoints = {
      hierarchical = false
      versions     = false
      recoverable  = false
      containers   = ["checkpoints"]
    }
  }

  containers = merge([
    for kind, account in local.accounts : { for container in account.containers : container => kind }
  ]...)
}

resource "azurerm_storage_account" "all" {
  #checkov:skip=CKV2_AZURE_1:Microsoft's keys encrypt at rest. Keys of one's own add a vault without which nothing runs, and protect from nobody whom roles do not keep out
  #checkov:skip=CKV2_AZURE_33:Private endpoints are made in modules/endpoints wherever public access is off, which is not seen from here
  #checkov:skip=CKV_AZURE_206:LRS is refused in prod by a validation; what a trial holds can be made anew
  #checkov:skip=CKV_AZURE_33:There are no queues
  #checkov:skip=CKV_AZURE_35:Deny wherever public access is off, which tests hold for prod; a trial has no network of its own and asks for identities all the same
  #checkov:skip=CKV_AZURE_59:Off in prod, which tests hold; a trial has no network of its own and asks for identities all the same
  for_each = local.accounts

  name                              = var.account_names[each.key]
  resource_group_name               = var.resource_group_name
  location                          = var.location
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = var.replication
  access_tier                       = "Hot"
  is_hns_enabled                    = each.value.hierarchical
  min_tls_version                   = "TLS1_2"
  https_traffic_only_enabled        = true
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  local_user_enabled                = false
  infrastructure_encryption_enabled = true
  public_network_access_enabled     = var.public_access
  tags                              = var.tags

  network_rules {
    default_action = var.public_access ? "Allow" : "Deny"
    bypass         = ["AzureServices"]
  }

  # No signature outlives what devices are given (docs/trust.md).
  sas_policy {
    expiration_period = "07.00:00:00"
    expiration_action = "Log"
  }

  blob_properties {
    versioning_enabled  = each.value.versions
    change_feed_enabled = each.value.versions

    change_feed_retention_in_days = each.value.versions ? var.version_days : null

    dynamic "delete_retention_policy" {
      for_each = each.value.recoverable ? [var.deleted_days] : []

      content {
        days = delete_retention_policy.value
      }
    }

    dynamic "container_delete_retention_policy" {
      for_each = each.value.recoverable ? [var.deleted_days] : []

      content {
        days = container_delete_retention_policy.value
      }
    }
  }

}

resource "azurerm_storage_container" "all" {
  #checkov:skip=CKV2_AZURE_21:Deletions are logged (modules/observe). Reads are not: every device looks at its channel again and again
  for_each = local.containers

  name                  = each.key
  storage_account_id    = azurerm_storage_account.all[each.value].id
  container_access_type = "private"
}

# What is deleted here by age must be what nobody lists: whole days of the lake go by `host lake expire`,
# which keeps its manifest right.
resource "azurerm_storage_management_policy" "lake" {
  storage_account_id = azurerm_storage_account.all["lake"].id

  rule {
    name    = "cool-old-hours"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["lake/detector="]
    }

    actions {
      base_blob {
        tier_to_cool_after_days_since_modification_greater_than = var.cool_days
      }
    }
  }

  dynamic "rule" {
    for_each = var.capture_days == null ? [] : [var.capture_days]

    content {
      name    = "expire-capture"
      enabled = true

      filters {
        blob_types   = ["blockBlob"]
        prefix_match = ["capture/"]
      }

      actions {
        base_blob {
          delete_after_days_since_creation_greater_than = rule.value
        }
      }
    }
  }

  depends_on = [azurerm_storage_container.all]
}

resource "azurerm_storage_management_policy" "registry" {
  storage_account_id = azurerm_storage_account.all["registry"].id

  rule {
    name    = "expire-versions"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["registry/"]
    }

    actions {
      version {
        delete_after_days_since_creation = var.version_days
      }
    }
  }

  # A device replaces its report every minute, and nobody asks for the one before.
  rule {
    name    = "expire-reports"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["registry/fleet/"]
    }

    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = var.report_days
      }

      version {
        delete_after_days_since_creation = 1
      }
    }
  }

  depends_on = [azurerm_storage_container.all]
}

# Storage: closed, without keys, and what is deleted by whom.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name = "twinge-test"
  location            = "westeurope"
  tags                = {}
  account_names       = { lake = "twingelake", registry = "twingereg", checkpoints = "twingeckpt" }
  public_access       = false
  replication         = "ZRS"
  deleted_days        = 30
  version_days        = 365
  report_days         = 60
  cool_days           = 90
  capture_days        = 7
}

run "closed" {
  module {
    source = "./modules/storage"
  }

  assert {
    condition     = length(azurerm_storage_account.all) == 3
    error_message = "there must be three accounts: lake, registry, checkpoints"
  }

  assert {
    condition = alltrue([for account in azurerm_storage_account.all :
      !account.shared_access_key_enabled && account.default_to_oauth_authentication && !account.local_user_enabled
    ])
    error_message = "no account may have keys or users of its own"
  }

  assert {
    condition = alltrue([for account in azurerm_storage_account.all :
      account.min_tls_version == "TLS1_2" && account.https_traffic_only_enabled && account.infrastructure_encryption_enabled
    ])
    error_message = "TLS 1.2 must be the least, and everything encrypted"
  }

  assert {
    condition = alltrue([for account in azurerm_storage_account.all :
      !account.public_network_access_enabled && !account.allow_nested_items_to_be_public
      && !account.cross_tenant_replication_enabled && account.network_rules[0].default_action == "Deny"
    ])
    error_message = "without public access nothing may be reached from the internet"
  }

  assert {
    condition     = alltrue([for container in azurerm_storage_container.all : container.container_access_type == "private"])
    error_message = "no container may be read by everybody"
  }

  assert {
    condition = (
      azurerm_storage_account.all["lake"].is_hns_enabled && !azurerm_storage_account.all["lake"].blob_properties[0].versioning_enabled
      && azurerm_storage_account.all["lake"].blob_properties[0].delete_retention_policy[0].days == 30
    )
    error_message = "the lake must have a hierarchical namespace, which has no versions, and soft delete in their place"
  }

  assert {
    condition = (
      !azurerm_storage_account.all["registry"].is_hns_enabled && azurerm_storage_account.all["registry"].blob_properties[0].versioning_enabled
      && azurerm_storage_account.all["registry"].blob_properties[0].delete_retention_policy[0].days == 30
      && azurerm_storage_account.all["registry"].blob_properties[0].container_delete_retention_policy[0].days == 30
    )
    error_message = "the registry must keep versions, and what is deleted"
  }

  assert {
    condition = (
      !azurerm_storage_account.all["checkpoints"].is_hns_enabled
      && !azurerm_storage_account.all["checkpoints"].blob_properties[0].versioning_enabled
      && length(azurerm_storage_account.all["checkpoints"].blob_properties[0].delete_retention_policy) == 0
    )
    error_message = "checkpoints are replaced every few seconds: neither versions nor deleted ones may be kept"
  }

  # The manifest of the lake lists its files, so that a rule which deleted any would break it.
  assert {
    condition = alltrue([
      for rule in azurerm_storage_management_policy.lake.rule :
      coalesce(rule.actions[0].base_blob[0].delete_after_days_since_modification_greater_than, 0) <= 0
      && alltrue([for prefix in rule.filters[0].prefix_match : prefix != "lake/"])
      if rule.name != "expire-capture"
    ])
    error_message = "no rule may delete files of the lake: `host lake expire` does, with their entries in the manifest"
  }

  assert {
    condition     = one([for rule in azurerm_storage_management_policy.lake.rule : rule if rule.name == "expire-capture"]).actions[0].base_blob[0].delete_after_days_since_creation_greater_than == 7
    error_message = "Event Hubs' own copy must end after capture_days"
  }

  assert {
    condition = (
      one([for rule in azurerm_storage_management_policy.registry.rule : rule if rule.name == "expire-versions"]).actions[0].version[0].delete_after_days_since_creation == 365
      && one([for rule in azurerm_storage_management_policy.registry.rule : rule if rule.name == "expire-reports"]).filters[0].prefix_match == toset(["registry/fleet/"])
    )
    error_message = "earlier versions must end after version_days, and only reports of devices may end by age"
  }
}

run "open" {
  variables {
    public_access = true
    capture_days  = null
  }

  module {
    source = "./modules/storage"
  }

  assert {
    condition     = alltrue([for account in azurerm_storage_account.all : account.public_network_access_enabled && !account.shared_access_key_enabled])
    error_message = "a trial is reached from the internet, and by identity all the same"
  }

  assert {
    condition     = !contains(keys(azurerm_storage_container.all), "capture")
    error_message = "without capture_days there must be no container for a copy"
  }
}

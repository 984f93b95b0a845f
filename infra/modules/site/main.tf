# The page (docs/page.md) as a static website. Its files hold nothing secret, and what visitors drop on it
# stays in their browsers.
resource "azurerm_storage_account" "this" {
  #checkov:skip=CKV2_AZURE_1:The files are those of a public repository; Microsoft's keys do
  #checkov:skip=CKV2_AZURE_33:Private endpoints are made in modules/endpoints wherever public access is off, which is not seen from here
  #checkov:skip=CKV_AZURE_206:LRS is refused in prod by a validation; what a trial holds can be made anew
  #checkov:skip=CKV_AZURE_33:There are no queues
  #checkov:skip=CKV_AZURE_35:Deny wherever public access is off, which tests hold for prod; a trial has no network of its own and asks for identities all the same
  #checkov:skip=CKV_AZURE_59:Off in prod, which tests hold; the page of a trial is for everybody
  name                              = var.account_name
  resource_group_name               = var.resource_group_name
  location                          = var.location
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = var.replication
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

  sas_policy {
    expiration_period = "01.00:00:00"
    expiration_action = "Log"
  }

  blob_properties {
    delete_retention_policy {
      days = 7
    }
  }
}

# This is the one thing here that goes by the account's own address: where public access is off, apply it from
# a machine in the network.
resource "azurerm_storage_account_static_website" "this" {
  storage_account_id = azurerm_storage_account.this.id
  index_document     = "index.html"
  error_404_document = "index.html"
}

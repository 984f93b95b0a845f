# The vault: for what cannot be an identity, which is the retrainer's key and the keys of devices at IoT Hub.
# People put secrets in; none comes from here, so none is in the state.
resource "azurerm_key_vault" "this" {
  #checkov:skip=CKV2_AZURE_32:A private endpoint is made in modules/endpoints wherever public access is off, which is not seen from here
  #checkov:skip=CKV_AZURE_109:Closed wherever public access is off, which tests hold for prod; a trial has no network of its own
  #checkov:skip=CKV_AZURE_189:Off in prod, which tests hold; a trial has no network of its own and asks for identities all the same
  name                          = var.name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  tenant_id                     = var.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = var.deleted_days
  public_network_access_enabled = var.public_access
  tags                          = var.tags

  network_acls {
    default_action = var.public_access ? "Allow" : "Deny"
    bypass         = "AzureServices"
  }
}

# The registry of images.
resource "azurerm_container_registry" "this" {
  #checkov:skip=CKV_AZURE_139:Off in prod, which tests hold; a trial has no network of its own and asks for identities all the same
  #checkov:skip=CKV_AZURE_163:Defender for Containers scans what is pushed, and is switched on for a subscription as a whole
  #checkov:skip=CKV_AZURE_164:Content trust of this kind is being retired; images are signed when they are built
  #checkov:skip=CKV_AZURE_165:One region: hosts in another would read a hub in this one
  #checkov:skip=CKV_AZURE_166:Quarantine is a preview that keeps images from being pulled until a scanner of your own releases them
  #checkov:skip=CKV_AZURE_233:On wherever public access is off, since only that tier has it
  #checkov:skip=CKV_AZURE_237:Of use with firewalls that name hosts; a private endpoint includes the data endpoints
  name                          = var.name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  sku                           = var.public_access ? "Basic" : "Premium"
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = var.public_access
  zone_redundancy_enabled       = !var.public_access
  retention_policy_in_days      = var.public_access ? null : var.untagged_days
  export_policy_enabled         = var.public_access
  network_rule_bypass_option    = "AzureServices"
  tags                          = var.tags
}

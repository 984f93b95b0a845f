output "backend" {
  description = "What goes into backend.hcl of each environment: terraform output -raw backend."
  value       = <<-HCL
    resource_group_name  = "${azurerm_resource_group.this.name}"
    storage_account_name = "${azurerm_storage_account.states.name}"
    subscription_id      = "${data.azurerm_client_config.current.subscription_id}"
    tenant_id            = "${data.azurerm_client_config.current.tenant_id}"
  HCL
}

output "github" {
  description = "Variables of the repository's environments, by environment. None is a secret."
  value = {
    for environment, identity in azurerm_user_assigned_identity.deployers : "infrastructure-${environment}" => {
      AZURE_CLIENT_ID       = identity.client_id
      AZURE_TENANT_ID       = data.azurerm_client_config.current.tenant_id
      AZURE_SUBSCRIPTION_ID = data.azurerm_client_config.current.subscription_id
      STATE_ACCOUNT         = azurerm_storage_account.states.name
      STATE_CONTAINER       = azurerm_storage_container.states.name
    }
  }
}

output "grantable_roles" {
  description = "Roles that workflows which apply may give."
  value       = sort(keys(local.grantable_roles))
}

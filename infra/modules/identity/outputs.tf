output "identities" {
  description = "Each program's identity: id for Azure, client_id for the variable AZURE_CLIENT_ID."
  value = {
    for who, identity in azurerm_user_assigned_identity.all : who => {
      id           = identity.id
      client_id    = identity.client_id
      principal_id = identity.principal_id
    }
  }

  # Who uses an identity wants its roles to be there.
  depends_on = [azurerm_role_assignment.programs]
}

output "pipeline_client_ids" {
  description = "AZURE_CLIENT_ID of each environment of the repository."
  value       = { for environment, identity in azurerm_user_assigned_identity.pipelines : environment => identity.client_id }
}

output "retrainer_key_secret" {
  description = "Name of the vault's secret that holds the retrainer's key."
  value       = var.retrainer_key_secret

  depends_on = [azurerm_role_assignment.programs]
}

output "account_id" {
  description = "The workspace's account."
  value       = azurerm_storage_account.this.id
}

output "workspace_id" {
  description = "The workspace."
  value       = local.workspace_id

  depends_on = [azurerm_resource_group_template_deployment.this]
}

output "tracking_uri" {
  description = "MLflow's address, for MLFLOW_TRACKING_URI."
  value       = "azureml://${var.location}.api.azureml.ms/mlflow/v1.0${local.workspace_id}"

  depends_on = [azurerm_resource_group_template_deployment.this]
}

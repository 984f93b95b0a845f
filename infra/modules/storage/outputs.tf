output "account_ids" {
  description = "The accounts lake, registry and checkpoints."
  value       = { for kind, account in azurerm_storage_account.all : kind => account.id }
}

output "account_names" {
  description = "Names of the accounts."
  value       = { for kind, account in azurerm_storage_account.all : kind => account.name }
}

output "container_ids" {
  description = "The containers by their names, as scopes of roles."
  value = {
    for name, kind in local.containers : name =>
    "${azurerm_storage_account.all[kind].id}/blobServices/default/containers/${name}"
  }

  depends_on = [azurerm_storage_container.all]
}

output "lake_url" {
  description = "The lake, as programs want it."
  value       = "abfss://lake@${azurerm_storage_account.all["lake"].name}.dfs.core.windows.net"
}

output "registry_url" {
  description = "The registry of modules, as programs want it."
  value       = "https://${azurerm_storage_account.all["registry"].name}.blob.core.windows.net/registry"
}

output "checkpoints_url" {
  description = "The container of checkpoints, as programs want it."
  value       = "https://${azurerm_storage_account.all["checkpoints"].name}.blob.core.windows.net/checkpoints"
}

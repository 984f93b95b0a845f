output "account_id" {
  description = "The page's account."
  value       = azurerm_storage_account.this.id
}

output "account_name" {
  description = "Name of the page's account."
  value       = azurerm_storage_account.this.name
}

output "container_id" {
  description = "The container of the files, as a scope of roles."
  value       = "${azurerm_storage_account.this.id}/blobServices/default/containers/$web"

  depends_on = [azurerm_storage_account_static_website.this]
}

output "url" {
  description = "Address of the page."
  value       = azurerm_storage_account.this.primary_web_endpoint
}

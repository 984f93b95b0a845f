output "rights_url" {
  description = "Where devices ask for rights; null until it runs."
  value       = var.programs == null ? null : "https://${var.base_name}-rights.${var.default_domain}"

  depends_on = [azurerm_container_app.rights]
}

output "rights_app_ids" {
  description = "The app that gives rights; none until images are there."
  value       = [for app in azurerm_container_app.rights : app.id]
}

output "iot_hub_ids" {
  description = "IoT Hub, where there is one."
  value       = azurerm_iothub.this[*].id
}

output "iot_hub_name" {
  description = "Name of IoT Hub; null where there is none."
  value       = one(azurerm_iothub.this[*].name)
}
